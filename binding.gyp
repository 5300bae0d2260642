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
            "native/socket_options.cc",
            "native/netlink/message.cc",
            "native/netlink/sock_diag.cc",
            "native/netlink/route.cc",
            "native/netlink/links.cc",
            "native/netlink/diag_dump.cc",
            "native/netlink/socket_table.cc",
            "native/tcp/prepare.cc",
            "native/tcp/time_wait.cc",
            "native/tcp/device_conflict.cc",
            "native/udp/tuple.cc",
            "native/udp/lock.cc",
            "native/udp/probe.cc",
            "native/napi/arguments.cc",
            "native/napi/tcp.cc",
            "native/napi/udp.cc",
            "native/napi/table.cc",
            "native/napi/sys.cc",
            "native/napi/addon.cc"
          ],
          "include_dirs": ["native", "<!@(node -p \"require('node-addon-api').include_dir\")"],
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
