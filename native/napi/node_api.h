// Node-API, included in one way.
#ifndef CONNECTX_NAPI_NODE_API_H
#define CONNECTX_NAPI_NODE_API_H

// worker.terminate() can come while a call is under way: from then on every Node-API call that could run JavaScript
// fails, and no exception can be thrown any more. Without this, node-addon-api ends the whole process.
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
#include <napi.h>

#endif  // CONNECTX_NAPI_NODE_API_H
