import { GrammarError } from "./expr.ts"
import { END, Kind, type Program } from "./program.ts"

/**
 * Takes out what leads nowhere, so that no text begins that cannot end.
 * @throws GrammarError where nothing is left, and for rules that call themselves before a character (they would never get to one).
 */
export function checkProgram(program: Program): void {
  const ends = canEnd(program)
  if (ends[program.root] === 0) throw new GrammarError("no text of finite length can satisfy it")
  prune(program, ends)
  refuseLeftRecursion(program, emptiness(program))
}

/** [n_nodes] 1 for nodes from which the text can come to the end of their rule. */
const canEnd = (program: Program): Uint8Array =>
  fixpoint(program, (node, is) => {
    const { kinds, starts, items } = program
    const from = starts[node] as number
    const to = starts[node + 1] as number
    if (kinds[node] === Kind.call) return is(items[from] as number) && is(items[from + 1] as number)
    const isBytes = kinds[node] === Kind.bytes
    for (let i = from; i < to; i += isBytes ? 2 : 1) if (is(items[isBytes ? i + 1 : i] as number)) return true
    return false
  })

/** [n_nodes] 1 for nodes from which the end of their rule is reached without a byte. */
const emptiness = (program: Program): Uint8Array =>
  fixpoint(program, (node, is) => {
    const { kinds, starts, items } = program
    if (kinds[node] === Kind.bytes) return false
    const targets = items.slice(starts[node], starts[node + 1])
    return kinds[node] === Kind.call ? targets.every(is) : targets.some(is)
  })

/** The least set that holds the end, and each node that `holds` says of it. */
function fixpoint({ nNodes }: Program, holds: (node: number, is: (node: number) => boolean) => boolean): Uint8Array {
  const set = new Uint8Array(nNodes)
  set[END] = 1
  const is = (node: number): boolean => set[node] === 1
  for (let changed = true, up = true; changed; up = !up) {
    changed = false
    for (let i = 1; i < nNodes; i++) {
      const node = up ? i : nNodes - i
      if (set[node] === 1 || !holds(node, is)) continue
      set[node] = 1
      changed = true
    }
  }
  return set
}

/** Lets nothing go on at a node that cannot end: a byte range that is empty takes nothing, and a jump goes where another goes. */
function prune({ kinds, starts, items, nNodes }: Program, ends: Uint8Array): void {
  for (let node = 1; node < nNodes; node++) {
    if (ends[node] === 0) continue
    const from = starts[node] as number
    const to = starts[node + 1] as number
    if (kinds[node] === Kind.bytes) {
      for (let i = from; i < to; i += 2) if (ends[items[i + 1] as number] === 0) items[i] = 0x0001 // from 1 to 0
    } else if (kinds[node] === Kind.jump) {
      const good = items.slice(from, to).find((target) => ends[target] === 1) as number
      for (let i = from; i < to; i++) if (ends[items[i] as number] === 0) items[i] = good
    }
  }
}

function refuseLeftRecursion({ kinds, starts, items, entries, nNodes }: Program, empty: Uint8Array): void {
  /** The nodes that a node goes on at without a byte: of a call its callee, first, and what follows where that can be empty. */
  const next = (node: number): readonly number[] => {
    if (kinds[node] === Kind.bytes) return []
    const targets = items.slice(starts[node], starts[node + 1])
    return kinds[node] === Kind.call && empty[targets[0] as number] === 0 ? targets.slice(0, 1) : targets
  }
  const component = components(nNodes, next)
  for (let node = 1; node < nNodes; node++) {
    if (kinds[node] !== Kind.call) continue
    const callee = items[starts[node] as number] as number
    if (component[node] !== component[callee]) continue
    const name = [...entries].find(([, entry]) => component[entry] === component[node])?.[0] ?? ""
    throw new GrammarError(`the rule '${name}' calls itself before any character; put a character first`)
  }
}

/** [n_nodes] the number of each node's strongly connected component (Tarjan 1972). */
function components(nNodes: number, next: (node: number) => readonly number[]): Int32Array {
  const component = new Int32Array(nNodes).fill(-1)
  const index = new Int32Array(nNodes)
  const low = new Int32Array(nNodes)
  const open: number[] = []
  const path: { node: number; next: readonly number[]; at: number }[] = []
  let nSeen = 0
  const enter = (node: number): void => {
    index[node] = low[node] = ++nSeen
    open.push(node)
    path.push({ node, next: next(node), at: 0 })
  }
  for (let start = 0; start < nNodes; start++) {
    if (index[start] === 0) enter(start)
    for (let top = path.at(-1); top; top = path.at(-1)) {
      const { node } = top
      const to = top.next[top.at++]
      if (to === undefined) {
        path.pop()
        const before = path.at(-1)
        if (before) low[before.node] = Math.min(low[before.node] as number, low[node] as number)
        if (low[node] !== index[node]) continue
        while ((component[node] as number) < 0) component[open.pop() as number] = node
      } else if (index[to] === 0) enter(to)
      else if ((component[to] as number) < 0) low[node] = Math.min(low[node] as number, index[to] as number)
    }
  }
  return component
}
