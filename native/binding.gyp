{
  # Builds the addon in an installed package: `npx node-gyp rebuild -C node_modules/connectx/native` (docs/install.md).
  "includes": ["connectx.gypi"],
  # Where the loader looks first.
  "target_defaults": { "product_dir": "<(module_root_dir)/../build/Release" }
}
