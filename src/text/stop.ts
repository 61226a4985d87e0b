/** Most stop strings of one request. The OpenAI API allows 4. */
export const MAX_STOP_STRINGS = 64

/** A list of stop strings is invalid; the message gives the reason. */
export class StopError extends Error {
  override readonly name = "StopError"
}

interface StopResult {
  /** Text that contains no part of a stop string. */
  text: string
  /** The stop string that was found. No text follows it. */
  stop: string | undefined
}

interface Node {
  next: Map<number, Node>
  /** Length of the string that leads to this node. */
  depth: number
  /** The node of the longest proper suffix that is also a prefix of some stop string. */
  fallback: Node | undefined
  /** The longest stop string that ends at this node. */
  stop: string | undefined
}

const newNode = (depth: number): Node => ({ next: new Map(), depth, fallback: undefined, stop: undefined })

/**
 * Finds stop strings in streamed text, across pushes (Aho and Corasick 1975). The stop string that ends first is reported, and the
 * longest of those that end at the same place, so the result does not depend on how the text is cut into pushes. Only the longest
 * suffix of the text that begins a stop string is held back.
 */
export class StopMatcher {
  readonly #root: Node
  #node: Node
  #held = ""
  #done = false

  /** @throws StopError for more than {@link MAX_STOP_STRINGS} strings, or an empty one */
  constructor(stops: readonly string[]) {
    if (stops.length > MAX_STOP_STRINGS) {
      throw new StopError(`${stops.length} stop strings were given; at most ${MAX_STOP_STRINGS} are allowed`)
    }
    if (stops.includes(""))
      throw new StopError("a stop string is empty, which would end every text at its start; leave it out")
    this.#root = automatonOf(stops)
    this.#node = this.#root
  }

  /** Takes the next text. @throws StopError after a stop string was found, or after `flush` */
  push(text: string): StopResult {
    if (this.#done) throw new StopError("the text has ended; make a new matcher for a new text")
    const all = this.#held + text
    for (let i = this.#held.length; i < all.length; i++) {
      this.#node = step(this.#node, all.charCodeAt(i))
      const { stop } = this.#node
      if (stop !== undefined) {
        this.#done = true
        this.#held = ""
        return { text: all.slice(0, i + 1 - stop.length), stop }
      }
    }
    const safe = all.length - this.#node.depth
    this.#held = all.slice(safe)
    return { text: all.slice(0, safe), stop: undefined }
  }

  /** Ends the text and returns what was held back, which is no stop string. */
  flush(): string {
    const rest = this.#held
    this.#held = ""
    this.#done = true
    return rest
  }
}

function step(from: Node, unit: number): Node {
  let node = from
  for (;;) {
    const child = node.next.get(unit)
    if (child) return child
    if (!node.fallback) return node
    node = node.fallback
  }
}

/** Automata by list of stop strings, which the choices of a request share. */
const automata = new WeakMap<readonly string[], Node>()

function automatonOf(stops: readonly string[]): Node {
  const root = automata.get(stops) ?? buildAutomaton(stops)
  automata.set(stops, root)
  return root
}

function buildAutomaton(stops: readonly string[]): Node {
  const root = newNode(0)
  for (const stop of stops) {
    let node = root
    for (let i = 0; i < stop.length; i++) {
      const unit = stop.charCodeAt(i)
      let child = node.next.get(unit)
      if (!child) {
        child = newNode(i + 1)
        node.next.set(unit, child)
      }
      node = child
    }
    node.stop = stop
  }
  // Breadth first, so that a node's fallback, which is shallower, is finished before it.
  const queue = [root]
  for (const node of queue) {
    for (const [unit, child] of node.next) {
      child.fallback = node.fallback ? step(node.fallback, unit) : root
      child.stop ??= child.fallback.stop
      queue.push(child)
    }
  }
  return root
}
