/** What `prlx --help` says after its commands. */
export const HELP = `
Start here:
  npm start                              a network on this machine, in another terminal
  prlx chat "Why is the sky blue?"       one answer, as it is made
  prlx chat                              a conversation
  id=$(prlx submit "Tell me a story.")   a request that nobody waits for
  prlx status $id --watch                its nine steps, live
  prlx explain $id                       why it is where it is

Every id may be shortened to how it is shown: req_a3f10b77.

Environment:
  PLX_GATEWAY_URL   the gateway; http://127.0.0.1:8420 by default
  PLX_API_KEY       the key of your account
  PLX_ADMIN_KEY     the key that may decide on nodes
  PLX_DATA_DIR      where a running \`npm start\` leaves these, as client.json; .data by default
  NO_COLOR          no colours

Exit codes:
  0 done                 2 the command makes no sense      4 no such request, node or model
  1 the request failed   3 no gateway, or a wrong key    130 Ctrl-C

\`prlx COMMAND --help\` has examples for each. Codes of failures: docs/errors.md.
`;

/** What the help of each command says after its options. */
export const EXAMPLES = {
  chat: `
Examples:
  prlx chat "Why is the sky blue?" --max-tokens 64
  prlx chat --system "Answer in one sentence."
  cat letter.txt | prlx chat --temperature 0
  prlx chat "Hello!" --json | jq -r .result.choices[0].message.content

The answer goes to stdout; a line with id, node, tokens, cost and time to stderr. Text is shown as
it is made, and is final once that line comes; with --delivery validated it comes once its proof was
checked, with strict once all checks are done. Ctrl-C cancels the request: what was shown is charged
and the rest is free; a second one leaves at once. In a conversation: /new, /exit, /help.
--json prints one object, the request with its result, once it has ended.
`,
  submit: `
Examples:
  prlx status $(prlx submit "Tell me a story.") --watch
  prlx submit "Tell me a story." --priority urgent --deadline 30 --wait
  prlx submit --file body.json           a body of POST /v1/requests; - is stdin
  prlx submit "Hello!" --wait --json | jq .charged_wei

stdout gets the id and nothing else; with --wait the steps go to stderr, and the exit code says
whether the request completed. Options change what a file says.
`,
  status: `
Examples:
  prlx status                            the latest requests of this account
  prlx status --status failed --limit 50
  prlx status req_a3f10b77               the nine steps, the proof, the bill and the answer
  prlx status req_a3f10b77 --watch       live, until it ends
  prlx status req_a3f10b77 --watch --json | jq -c .status

Steps 2 and 8 are skipped: an inference request is served whole. --watch exits with 0 if the request
completed, with 1 if it didn't. With --json it prints a line for each change.
`,
  cancel: `
Examples:
  prlx cancel req_a3f10b77

A cancelled request costs what was streamed of it, and nothing without a stream. Cancelling it again
changes nothing; one that has ended otherwise can't be cancelled (exit code 1).
`,
  nodes: `
Examples:
  prlx nodes                             all nodes, in the order in which they get work
  prlx nodes nd_4f7c01aa                 one of them; its name will do as well
  prlx nodes --json | jq '.data[] | select(.online) | .name'
  prlx nodes review                      who was removed or flagged, and why
  prlx nodes review nd_4f7c01aa          all that was written down of one
  prlx nodes reinstate nd_4f7c01aa --reason "Its memory was replaced."
  prlx nodes invite --uses 3 --hours 2   a join token for three nodes, for a network that isn't open
  prlx nodes invites --end jt_d5bcb297

Tier and speed are measured. Flags count missed deadlines, faulty returns and lost votes. review,
reinstate, invite and invites need an admin key (PLX_ADMIN_KEY); a node that is let in again gets a
canary first, and at first all its work is checked.
`,
  audit: `
Examples:
  prlx audit sampling                    all epochs whose secrets are revealed
  prlx audit sampling --epoch 12
  prlx audit sampling --json | jq .mismatches

Which requests are checked is drawn with secrets that were committed to before. This recomputes each
draw, and compares it with what was published. Exit code 1 if anything differs. An admin key
(PLX_ADMIN_KEY) sees all draws, another key those of its own requests.
`,
  operator: `
Examples:
  prlx operator new operator.key         an account: its key in that file, its address on stdout
  prlx operator bind nd_4f7c01aa… --key-file operator.key > binding.json
  prlx operator bind nd_4f7c01aa… --key-file operator.key --days 30 --chain-id 42161
  prlx operator new operator.key --json | jq -r .address

No gateway is asked. A node says its id when it is started without a binding; then it gets
PLX_OPERATOR_BINDING=binding.json. The key stays with its owner: no node needs it.
`,
  keys: `
Examples:
  prlx keys                              the keys of this account, the latest first
  prlx account new wallet.key            an account: its key in that file, its address on stdout
  prlx keys new --name Phone --sign-with wallet.key
  prlx keys new --name CI --scope inference --days 30 --budget 0.5 --requests-per-minute 60
  prlx keys rotate key_a3f10b77 --overlap 3600
  prlx keys revoke key_a3f10b77
  PLX_API_KEY=$(prlx keys new --name Here --sign-with .data/keys/demo-account) prlx chat

A new key goes to stdout, and is shown this once. With --sign-with the file's account signs for it
(EIP-4361) and no key is needed; without, it is made by the key in use, which needs the scope keys
and can hand out no more than it has. A rotated key keeps its id, its limits and what it has used of
them; its former secret is good for --overlap seconds.
`,
  explain: `
Examples:
  prlx explain req_a3f10b77              its attempts, its place in the queue, and for each node the
                                         first filter of step 3 that fails
  prlx explain node-1                    why a node has no work now
`,
};
