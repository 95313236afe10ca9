// JupyterLab's packages are ES modules in part, so they are transformed too. Types are tsc's affair, not Jest's.
const transformed = [
  '@jupyterlab/.*',
  '@jupyter/.*',
  '@microsoft/.*',
  '@rjsf/.*',
  'exenv-es6',
  'lib0',
  'nanoid',
  'vscode-ws-jsonrpc',
  'y-protocols',
  'y-websocket',
  'yjs'
];

module.exports = {
  modulePathIgnorePatterns: ['<rootDir>/dist', '<rootDir>/lib'],
  testEnvironment: 'jsdom',
  testMatch: ['<rootDir>/test/**/*.spec.ts?(x)'],
  setupFiles: ['<rootDir>/test/setup.ts'],
  transform: {
    '^.+\\.[cm]?[jt]sx?$': [
      '@swc/jest',
      {
        jsc: {
          parser: { syntax: 'typescript', tsx: true },
          target: 'es2020',
          transform: { react: { runtime: 'classic' } }
        }
      }
    ]
  },
  transformIgnorePatterns: [`/node_modules/(?!(${transformed.join('|')})/)`],
  moduleNameMapper: {
    '\\.css$': '<rootDir>/test/nothing.cjs',
    '\\.svg$': '<rootDir>/test/svg.cjs'
  }
};
