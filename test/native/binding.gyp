{
  "variables": { "sanitize%": "" },
  "target_defaults": {
    "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"],
    "cflags_cc!": ["-std=gnu++14", "-std=gnu++17", "-std=gnu++20"],
    "cflags_cc": ["-std=c++17", "-Wall", "-Wextra", "-Werror"]
  },
  "targets": [
    {
      "target_name": "netns",
      "sources": ["netns.cc"]
    },
    {
      "target_name": "tun",
      "sources": ["tun.cc"]
    },
    {
      "target_name": "bpf",
      "sources": ["bpf.cc"]
    },
    {
      "target_name": "sandbox",
      "sources": ["sandbox.cc"]
    },
    {
      # Not an addon: for LD_PRELOAD.
      "target_name": "answers",
      "sources": ["answers.cc"]
    },
    {
      # Both an addon and for LD_PRELOAD.
      "target_name": "faults",
      "sources": ["faults.cc"],
      "libraries": ["-ldl"]
    },
    {
      # The addon's own sources, without the kernel.
      "target_name": "codec",
      "sources": [
        "codec.cc",
        "../../native/os.cc",
        "../../native/address.cc",
        "../../native/socket_options.cc",
        "../../native/netlink/message.cc",
        "../../native/netlink/sock_diag.cc",
        "../../native/netlink/route.cc",
        "../../native/netlink/links.cc",
        "../../native/netlink/diag_dump.cc",
        "../../native/netlink/socket_table.cc",
        "../../native/tcp/prepare.cc"
      ],
      "include_dirs": ["../../native", "<!@(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_ADDON_API_DISABLE_DEPRECATED"],
      "cflags_cc": ["-fvisibility=hidden"],
      "conditions": [
        ["sanitize!=''", {
          "cflags_cc": ["-fsanitize=<(sanitize)", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g"],
          "ldflags": ["-fsanitize=<(sanitize)"]
        }]
      ]
    }
  ]
}
