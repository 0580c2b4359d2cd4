/** The Python that `npm test` has put packages into, by the variable that says where it is. */
export function pythonOf(variable: 'PLX_NODE_PYTHON' | 'PLX_SDK_PYTHON'): string {
  const python = process.env[variable];
  if (python === undefined) throw new Error(`run it by npm test: ${variable} is not set`);
  return python;
}

/** The environment of a Python; nothing of it is left in the tree of sources. */
export function pythonEnvironment(env: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const { PATH = '', HOME = '' } = process.env;
  return { PATH, HOME, PYTHONDONTWRITEBYTECODE: '1', ...env };
}
