{
  # The addon. Two files include this one: ../binding.gyp, for a checkout, and binding.gyp beside it, for the published package.
  "variables": {
    # `node-gyp rebuild -- -Dsanitize=address,undefined` builds an instrumented addon.
    "sanitize%": "",
    "werror%": "true",
    # A name that ends in _file is a path: gyp turns it into one from the including file.
    "exports_file": "exports.map"
  },
  "targets": [
    {
      "target_name": "connectx",
      "conditions": [
        ["OS=='linux'", {
          "sources": [
            "os.cc",
            "address.cc",
            "socket_options.cc",
            "netlink/message.cc",
            "netlink/sock_diag.cc",
            "netlink/route.cc",
            "netlink/links.cc",
            "netlink/diag_dump.cc",
            "netlink/socket_table.cc",
            "tcp/prepare.cc",
            "tcp/search.cc",
            "tcp/time_wait.cc",
            "tcp/device_conflict.cc",
            "tcp/port_release.cc",
            "udp/tuple.cc",
            "udp/devices.cc",
            "udp/lock.cc",
            "udp/probe.cc",
            "udp/offload.cc",
            "udp/control.cc",
            "udp/peers.cc",
            "udp/batch.cc",
            "udp/batch_gather.cc",
            "udp/batch_receive.cc",
            "udp/batch_send.cc",
            "napi/arguments.cc",
            "napi/tcp.cc",
            "napi/udp.cc",
            "napi/batch_handle.cc",
            "napi/batch.cc",
            "napi/table.cc",
            "napi/sys.cc",
            "napi/addon.cc"
          ],
          "include_dirs": [".", "<!@(node -p \"require('node-addon-api').include_dir\")"],
          "defines": ["NAPI_VERSION=8", "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED"],
          "cflags_cc!": ["-std=gnu++14", "-std=gnu++17", "-std=gnu++20"],
          "cflags_cc": ["-std=c++17", "-Wall", "-Wextra", "-fvisibility=hidden", "-ffunction-sections", "-fdata-sections"],
          # For `npm run prebuild`, where the C++ library is part of the binary: only what is used of it stays.
          "ldflags": ["-Wl,--gc-sections", "-Wl,--version-script=<(module_root_dir)/<(exports_file)"],
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
