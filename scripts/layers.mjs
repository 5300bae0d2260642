// The layers of src/, from the lowest to the highest: the lint rule and the test of CONTRIBUTING.md are made from this list.
// A folder imports from itself and from layers below its own. Folders that share a layer do not import each other.
export const layers = [['errors'], ['values'], ['kernel'], ['source'], ['connect'], ['tcp', 'udp', 'usage'], ['cli']];

/** What a folder must not import: the other folders of its own layer, those above it, and the entries. */
export function forbiddenTo(folder) {
  const own = layers.findIndex((layer) => layer.includes(folder));
  return layers
    .slice(own)
    .flat()
    .filter((name) => name !== folder);
}

/** The rule `no-restricted-imports` for each folder. */
export const layerRules = layers.flat().map((folder) => ({
  files: [`src/${folder}/**`],
  rules: {
    'no-restricted-imports': [
      'error',
      {
        patterns: [
          ...forbiddenTo(folder).map((name) => ({
            regex: `^\\.\\./${name}/`,
            message: `${folder}/ may not import from ${name}/ (scripts/layers.mjs).`,
          })),
          {
            regex: '^\\.\\./\\w+$',
            message: `${folder}/ may not import an entry of the package (scripts/layers.mjs).`,
          },
        ],
      },
    ],
  },
}));
