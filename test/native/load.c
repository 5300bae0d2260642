// Loads an addon as Node does, all its symbols at once, where there is no Node for this C library;
// scripts/prebuild-try.mjs compiles it with a function for each symbol of Node-API that the addon wants.
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>

int main(int argc, char** argv) {
  void* addon = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
  int32_t (*version)(void) = NULL;
  if (addon != NULL) version = (int32_t(*)(void))dlsym(addon, "node_api_module_get_api_version_v1");
  if (version == NULL || dlsym(addon, "napi_register_module_v1") == NULL) {
    fprintf(stderr, "%s\n", argc == 2 ? dlerror() : "usage: load FILE");
    return 1;
  }
  printf("loads, for version %d of Node-API\n", version());
  return 0;
}
