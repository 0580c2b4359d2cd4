/** The model that the nodes of an embedded network serve. */
export const EMBEDDED_MODEL_ID = 'smollm2-135m-instruct';
export const CONTEXT_TOKENS = 2_048;
