{
  # Builds the addon in a checkout. Not in the published package: npm and yarn compile whatever has a binding.gyp in its root.
  "includes": ["native/connectx.gypi"]
}
