// A program may replace timers (tests do), and connectx has to go on all the same: these are taken when it is loaded.
import * as timers from 'node:timers';

export const { setImmediate, setTimeout, clearTimeout } = timers;
