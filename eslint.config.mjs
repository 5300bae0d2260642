import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';
import house from './scripts/house-rules.mjs';
import { layerRules } from './scripts/layers.mjs';

const OPENERS =
  'A socket is opened and adopted in one breath, and only by tcp/adopt.ts and its counterpart in udp/; a question has kernel/question_socket.ts.';

export default tseslint.config(
  { ignores: ['dist/', 'build/', 'test/native/build/', '.nodes/', '.kernels/', 'prebuilds/', 'coverage/'] },
  eslint.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ['*.mjs', '*.mts'] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowNullish: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // Overloads document the ways to call; handles are called through `this` on purpose.
      '@typescript-eslint/unified-signatures': 'off',
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
  },
  {
    files: ['**/*.mjs', '**/*.mts'],
    extends: [tseslint.configs.disableTypeChecked],
    languageOptions: {
      globals: {
        process: 'readonly',
        console: 'readonly',
        setImmediate: 'readonly',
        setTimeout: 'readonly',
        clearTimeout: 'readonly',
        setInterval: 'readonly',
        clearInterval: 'readonly',
        performance: 'readonly',
        Buffer: 'readonly',
        fetch: 'readonly',
        URL: 'readonly',
        AbortController: 'readonly',
        AbortSignal: 'readonly',
        queueMicrotask: 'readonly',
      },
    },
  },
  ...layerRules,
  {
    files: ['src/**'],
    plugins: { house },
    rules: {
      'max-lines': ['error', 300],
      'house/mutable-fields': ['error', 5],
      'house/no-circle': 'error',
    },
  },
  {
    // V8 stops a worker thread that is being terminated wherever a function of JavaScript is entered. A descriptor that is open by then, and
    // has not been adopted, stays open until the process ends.
    files: ['src/**'],
    ignores: [
      'src/tcp/adopt.ts',
      'src/udp/adopt.ts',
      'src/kernel/permission.ts',
      'src/kernel/question_socket.ts',
      'src/sys.ts',
    ],
    rules: {
      'no-restricted-syntax': [
        'error',
        {
          selector:
            'MemberExpression[property.name=/^(tcpPrepare|tcpPin|udpSocket|replace|socket)$/][object.name="native"]',
          message: OPENERS,
        },
        {
          selector: 'VariableDeclarator[init.name="native"] Property[key.name=/^(tcpPrepare|tcpPin|udpSocket)$/]',
          message: OPENERS,
        },
        {
          selector: 'MemberExpression[property.name=/^(tcpPrepare|tcpPin|udpSocket)$/]:not([object.name="native"])',
          message: OPENERS,
        },
      ],
    },
  },
  {
    files: ['src/kernel/load.ts', 'src/metrics.ts', 'src/connect/dns.ts'],
    // The package is CommonJS, and the addon, an optional peer and node:dns are loaded when they are first needed.
    rules: { '@typescript-eslint/no-require-imports': 'off' },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-unsafe-assignment': 'off', // expect.objectContaining and its kin are `any`
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-empty-function': 'off',
    },
  },
);
