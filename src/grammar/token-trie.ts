/** A vocabulary as a tree of bytes. */

import type { Tokenizer } from "../text/tokenizer/types.ts"

/** Words of a node; the constants below are their offsets. They are interleaved, because a walk that skips nodes touches distant memory. */
export const NODE = 4
/** Offset in `nodes` of the first node after the node's subtree. */
export const SKIP = 0
/** Index in `tokens` of the first token of the subtree. The node's own tokens end where the next node's begin. */
export const FIRST = 1
/** The node's last byte, and its depth << 8. */
export const BYTE_AND_DEPTH = 2
/** Bytes of the longest token in the subtree. */
export const DEEPEST = 3

/** A vocabulary's tokens by their bytes: a tree in preorder, from the root on. */
export interface TokenTrie {
  nVocab: number
  /** [nNodes + 1, NODE] The last entry has only `FIRST`. */
  nodes: Int32Array
  /** [256] offset of the root's child for each byte; 0 for none. */
  children: Int32Array
  /** Tokens in the order of their bytes, without control and unknown tokens, which no text contains. */
  tokens: Int32Array
  /** Bytes of the longest token. */
  longest: number
  /** Bytes of a token; empty for one that is not in the tree. */
  bytesOf(token: number): Uint8Array
  /** Control tokens and their texts. They are allowed only where a constraint names the text. */
  controls: ReadonlyMap<number, Uint8Array>
}

const NO_BYTES = new Uint8Array(0)
const MAX_TOKEN_BYTES = 1024

/** @param nVocab Rows of the model's output. Those beyond the tokenizer's vocabulary are not tokens. */
export function buildTrie(
  tokenizer: Pick<Tokenizer, "vocabSize" | "isSpecial" | "tokenBytes" | "piece">,
  nVocab: number,
): TokenTrie {
  const n = Math.min(nVocab, tokenizer.vocabSize)
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
  // Latin-1 text sorts in the order of its bytes.
  const text = (id: number): string => texts[id] as string
  tokens.sort((a, b) => (text(a) < text(b) ? -1 : text(a) > text(b) ? 1 : a - b))
  const nodes = nodesOf(tokens.map(text))
  const children = new Int32Array(256)
  for (let at = NODE; at < nodes.length - NODE; at = nodes[at + SKIP] as number) {
    children[(nodes[at + BYTE_AND_DEPTH] as number) & 0xff] = at
  }
  const longest = nodes[DEEPEST] as number
  const bytesOf = (token: number): Uint8Array => (texts[token] ? Buffer.from(text(token), "latin1") : NO_BYTES)
  return { nVocab, nodes, children, tokens: Int32Array.from(tokens), longest, bytesOf, controls }
}

function nodesOf(sorted: readonly string[]): Int32Array {
  const nodes = [0, 0, 0, 0]
  /** Nodes from the root to the last one. */
  const path = [0]
  let before = ""
  const leave = (depth: number): void => {
    while (path.length > depth + 1) {
      const node = path.pop() as number
      nodes[node + SKIP] = nodes.length
      const parent = path.at(-1)
      if (parent === undefined) continue
      nodes[parent + DEEPEST] = Math.max(nodes[parent + DEEPEST] as number, nodes[node + DEEPEST] as number)
    }
  }
  for (const [i, text] of sorted.entries()) {
    let shared = 0
    while (shared < before.length && shared < text.length && before[shared] === text[shared]) shared++
    leave(shared)
    for (let k = shared; k < text.length; k++) {
      path.push(nodes.length)
      nodes.push(0, i, text.charCodeAt(k) | ((k + 1) << 8), k + 1)
    }
    before = text
  }
  leave(-1)
  nodes.push(0, sorted.length, 0, 0)
  return Int32Array.from(nodes)
}
