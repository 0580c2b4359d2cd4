/** Header by which an edge passes on the channel token of the node whose frames it forwards. */
export const CHANNEL_TOKEN_HEADER = 'x-plx-channel-token';
