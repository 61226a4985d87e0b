import type { Tokenizer } from "../../text/tokenizer/types.ts"

/**
 * A vocabulary's tokens by their bytes, as a tree in preorder: node 0 is the root, a node's first child comes after it, and all that
 * begins with its bytes before `skip` of it.
 */
export interface TokenTrie {
  n_vocab: number
  /** [n_nodes] a node's last byte, the number of its bytes, and the first node after all that are below it. */
  bytes: Uint8Array
  depths: Uint16Array
  skip: Int32Array
  /** [n_nodes] bytes of the longest token at a node or below. */
  deepest: Uint16Array
  /** [n_nodes + 1] tokens[first[i] …] are those of node i and below; its own come before first[i + 1]. */
  first: Int32Array
  /** Tokens in the order of their bytes. Control and unknown tokens are none of them: no text has them. */
  tokens: Int32Array
  /** Bytes of the longest token. */
  longest: number
  /** Bytes of a token; of one that is not in the tree, none. */
  bytesOf(token: number): Uint8Array
  /** Control tokens and their texts: they can stand in a text only where it is said. */
  controls: ReadonlyMap<number, Uint8Array>
}

const NO_BYTES = new Uint8Array(0)
const MAX_TOKEN_BYTES = 1024

/** @param n_vocab Rows of the model's output; those beyond the tokenizer's are no tokens. */
export function buildTrie(
  tokenizer: Pick<Tokenizer, "vocabSize" | "isSpecial" | "tokenBytes" | "piece">,
  n_vocab: number,
): TokenTrie {
  const n = Math.min(n_vocab, tokenizer.vocabSize)
  const texts: string[] = []
  const tokens: number[] = []
  const controls = new Map<number, Uint8Array>()
  for (let id = 0; id < n; id++) {
    texts.push("")
    if (tokenizer.isSpecial(id)) {
      controls.set(id, new TextEncoder().encode(tokenizer.piece(id)))
      continue
    }
    const bytes = tokenizer.tokenBytes(id)
    if (bytes.length === 0 || bytes.length > MAX_TOKEN_BYTES) continue
    texts[id] = Buffer.from(bytes).toString("latin1")
    tokens.push(id)
  }
  // Latin-1 text sorts as its bytes do.
  const text = (id: number): string => texts[id] as string
  tokens.sort((a, b) => (text(a) < text(b) ? -1 : text(a) > text(b) ? 1 : a - b))
  const tree = nodesOf(tokens.map(text))
  const longest = tree.deepest[0] ?? 0
  const bytesOf = (token: number): Uint8Array => (texts[token] ? Buffer.from(text(token), "latin1") : NO_BYTES)
  return { n_vocab, ...tree, tokens: Int32Array.from(tokens), longest, bytesOf, controls }
}

function nodesOf(sorted: readonly string[]): Pick<TokenTrie, "bytes" | "depths" | "skip" | "deepest" | "first"> {
  const bytes = [0]
  const depths = [0]
  const skip = [0]
  const deepest = [0]
  const first = [0]
  /** Nodes from the root to the last one. */
  const path = [0]
  let before = ""
  const leave = (depth: number): void => {
    while (path.length > depth + 1) {
      const node = path.pop() as number
      skip[node] = bytes.length
      const parent = path.at(-1)
      if (parent !== undefined) deepest[parent] = Math.max(deepest[parent] as number, deepest[node] as number)
    }
  }
  for (const [i, text] of sorted.entries()) {
    let shared = 0
    while (shared < before.length && shared < text.length && before[shared] === text[shared]) shared++
    leave(shared)
    for (let k = shared; k < text.length; k++) {
      path.push(bytes.length)
      bytes.push(text.charCodeAt(k))
      depths.push(k + 1)
      skip.push(0)
      deepest.push(k + 1)
      first.push(i)
    }
    before = text
  }
  leave(-1)
  first.push(sorted.length)
  return {
    bytes: Uint8Array.from(bytes),
    depths: Uint16Array.from(depths),
    skip: Int32Array.from(skip),
    deepest: Uint16Array.from(deepest),
    first: Int32Array.from(first),
  }
}
