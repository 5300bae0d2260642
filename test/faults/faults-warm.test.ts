import { faultTests } from './matrix.js';

faultTests('after a call that went well', false);
