import { faultTests } from './matrix.js';

// Nothing is remembered here, and no socket is kept; and an answer may be spoilt for good.
faultTests('in a thread that has just begun', true);
