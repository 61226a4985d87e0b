import type { Tokenizer } from "../text/tokenizer/types.ts"

/** Words of a node, and what each of them is. Together, because a walk that skips from node to node touches memory that is far away. */
export const NODE = 4
/** The first node (times `NODE`) after all that begin with its bytes. */
export const SKIP = 0
/** Tokens from this number on, in the order of their bytes, are those of the node and below; its own come before the next node's. */
export const FIRST = 1
/** Its last byte, and the number of its bytes above it. */
export const BYTE_AND_DEPTH = 2
/** Bytes of the longest token at the node or below. */
export const DEEPEST = 3

/** A vocabulary's tokens by their bytes, as a tree in preorder: a node's first child comes after it. The root is the first. */
export interface TokenTrie {
  nVocab: number
  /** [n_nodes + 1, NODE] behind the last one there is one more `FIRST`. */
  nodes: Int32Array
  /** [256] the root's children by their bytes; 0 where there is none. */
  children: Int32Array
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

/** @param nVocab Rows of the model's output; those beyond the tokenizer's are no tokens. */
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
  // Latin-1 text sorts as its bytes do.
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
