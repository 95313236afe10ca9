// The rules of TypeScript's strict set with types, and React's of hooks; what formatting is, is prettier's affair.
import js from '@eslint/js';
import prettier from 'eslint-config-prettier';
import hooks from 'eslint-plugin-react-hooks';
import ts from 'typescript-eslint';

export default ts.config(
  { ignores: ['lib', 'dist', 'node_modules', 'coverage', '**/*.mjs', '**/*.cjs', 'style/*.js'] },
  js.configs.recommended,
  ...ts.configs.strictTypeChecked,
  {
    plugins: { 'react-hooks': hooks },
    languageOptions: {
      parserOptions: { project: './tsconfig.test.json', tsconfigRootDir: import.meta.dirname }
    },
    rules: {
      ...hooks.configs.recommended.rules,
      curly: ['error', 'all'],
      eqeqeq: 'error',
      // Numbers stand in sentences everywhere.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // Lumino's signals take the object beside the method.
      '@typescript-eslint/unbound-method': 'off',
      // A plugin list or a void command is no confusion.
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }]
    }
  },
  prettier
);
