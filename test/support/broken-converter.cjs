/** Encodes a return so that nobody can decode it. CommonJS, because the SDK requires it. */
exports.payloadConverter = {
  toPayload: () => ({
    metadata: { encoding: Buffer.from('json/plain') },
    data: Buffer.from('{"never":'),
  }),
  fromPayload: require('@temporalio/common').defaultPayloadConverter.fromPayload.bind(
    require('@temporalio/common').defaultPayloadConverter,
  ),
};
