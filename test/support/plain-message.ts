/** All fields that a message has, without those that are empty. */
export function plainMessage(message: object): unknown {
  return JSON.parse(
    JSON.stringify(message, (_key, value: unknown) =>
      value === null || (Array.isArray(value) && value.length === 0) ? undefined : value,
    ),
  );
}
