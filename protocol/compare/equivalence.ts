/**
 * Ends the name of an engine whose hardware nobody has declared, such as that of a server behind a
 * node: the same version on another GPU gives other tokens.
 */
export const UNDECLARED_HARDWARE = 'undeclared-hardware';

/**
 * Whether results of an engine can be compared with others of the same name. If not, honest nodes
 * would be taken for liars: such work is checked by its commitment only.
 *
 * @param engine as a node registered it, or undefined for a run that doesn't know it.
 */
export function isComparable(engine: string | undefined): engine is string {
  return engine !== undefined && !engine.endsWith(UNDECLARED_HARDWARE);
}
