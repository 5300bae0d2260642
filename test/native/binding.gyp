{
  "variables": { "sanitize%": "" },
  "targets": [
    {
      "target_name": "netns",
      "sources": ["netns.cc"],
      "defines": ["NAPI_VERSION=8", "_GNU_SOURCE"],
      "cflags_cc": ["-std=c++17", "-Wall", "-Wextra", "-Werror"]
    }
  ]
}
