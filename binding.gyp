{
  "variables": {
    # `node-gyp rebuild -- -Dsanitize=address,undefined` builds an instrumented addon.
    "sanitize%": "",
    "werror%": "true"
  },
  "targets": [
    {
      "target_name": "connectx",
      "conditions": [
        ["OS=='linux'", {
          "sources": [
            "native/os.cc",
            "native/address.cc",
            "native/device_check.cc",
            "native/diag_dump.cc",
            "native/diag_sinks.cc",
            "native/links.cc",
            "native/netlink.cc",
            "native/route.cc",
            "native/sock_diag.cc",
            "native/socket_options.cc",
            "native/time_wait.cc",
            "native/udp_connect.cc",
            "native/tcp_pin.cc",
            "native/tcp_prepare.cc",
            "native/binding.cc"
          ],
          "include_dirs": ["<!@(node -p \"require('node-addon-api').include_dir\")"],
          "defines": ["NAPI_VERSION=8", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED"],
          "cflags_cc!": ["-std=gnu++14", "-std=gnu++17", "-std=gnu++20"],
          "cflags_cc": ["-std=c++17", "-Wall", "-Wextra", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections"],
          # For `npm run prebuild`, where the C++ library is part of the binary: only what is used of it stays.
          "ldflags": ["-Wl,--gc-sections", "-Wl,--version-script=<(module_root_dir)/native/exports.map"],
          "conditions": [
            ["werror=='true'", { "cflags_cc": ["-Werror"] }],
            ["sanitize!=''", {
              "cflags_cc": ["-fsanitize=<(sanitize)", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g"],
              "ldflags": ["-fsanitize=<(sanitize)"]
            }]
          ]
        }, {
          # Off Linux there is nothing to build: the package falls back to node:net.
          "type": "none"
        }]
      ]
    }
  ]
}
