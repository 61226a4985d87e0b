/** Deterministic automata of terms. */

import { ALL_CHARS, GrammarError, type Range, tidy } from "./expr.ts"
import type { Term, Terms } from "./terms.ts"

/** A deterministic automaton: for each state whether a text may end there, and its edges. State 0 is the first. */
interface States {
  readonly ends: readonly boolean[]
  readonly edges: readonly (readonly (readonly [ranges: readonly Range[], to: number])[])[]
}

/** Most states of a term's automaton. */
const MAX_STATES = 12_000

/**
 * The least automaton of a term, without states that no text ends after.
 * @returns `undefined` for a term without texts.
 * @throws GrammarError for more than {@link MAX_STATES} states.
 */
export function statesOf(terms: Terms, root: Term): States | undefined {
  const known = made.get(root)
  if (known) return known.states
  const states = build(terms, root)
  made.set(root, { states })
  return states
}

const made = new WeakMap<Term, { readonly states: States | undefined }>()

function build(terms: Terms, root: Term): States | undefined {
  const classes = classesOf(root)
  const states = [root]
  const numbers = new Map([[root, 0]])
  const next: Int32Array[] = []
  for (let at = 0; at < states.length; at++) {
    const row = new Int32Array(classes.length)
    for (const [k, ranges] of classes.entries()) {
      const to = terms.derivative(states[at] as Term, (ranges[0] as Range)[0])
      let number = to === terms.none ? -1 : numbers.get(to)
      if (number === undefined) {
        if (states.length >= MAX_STATES)
          throw new GrammarError("'pattern', 'format' and the lengths together have too many cases; simplify them")
        number = states.push(to) - 1
        numbers.set(to, number)
      }
      row[k] = number
    }
    next.push(row)
  }
  return smallest(
    next,
    states.map(({ nullable }) => nullable),
    classes,
  )
}

/** Sets of characters that no part of the term tells apart. */
function classesOf(root: Term): Range[][] {
  const sets = new Map<string, readonly Range[]>()
  const seen = new Set<Term>()
  const visit = (term: Term): void => {
    if (seen.has(term)) return
    seen.add(term)
    if (term.kind === "chars") sets.set(term.ranges.join(";"), term.ranges)
    else if (term.kind === "sequence") [term.first, term.rest].forEach(visit)
    else if (term.kind === "or" || term.kind === "and") term.parts.forEach(visit)
    else if (term.kind === "not" || term.kind === "repeat") visit(term.part)
    else if (term.kind === "multiple")
      for (const char of ".0123456789") {
        const code = char.charCodeAt(0)
        sets.set(`${code}`, [[code, code]])
      }
  }
  visit(root)
  const cuts = new Set<number>(ALL_CHARS.map(([first]) => first))
  for (const ranges of sets.values()) {
    for (const [first, last] of ranges) cuts.add(first).add(last + 1)
  }
  const starts = [...cuts].sort((a, b) => a - b)
  const byKey = new Map<string, Range[]>()
  const all = [...sets.values()]
  for (const [i, first] of starts.entries()) {
    const segment = tidy([[first, (starts[i + 1] ?? 0x110000) - 1]])
    if (segment.length === 0 || first > 0x10ffff) continue
    const key = all.map((ranges) => (ranges.some(([a, b]) => a <= first && first <= b) ? 1 : 0)).join("")
    byKey.set(key, [...(byKey.get(key) ?? []), ...segment])
  }
  return [...byKey.values()].map((ranges) => tidy(ranges))
}

/** Merges equivalent states by refining a partition (Moore 1956). */
function smallest(
  next: readonly Int32Array[],
  ends: readonly boolean[],
  classes: readonly Range[][],
): States | undefined {
  const alive = livingStates(next, ends)
  if (alive[0] !== 1) return undefined
  let group: number[] = ends.map((end, at) => (alive[at] === 1 ? (end ? 1 : 2) : 0))
  for (let count = 0; ; ) {
    const names = new Map<string, number>([["", 0]])
    const refined = group.map((own, at) => {
      if (alive[at] !== 1) return 0
      const key = `${own}:${Array.from(next[at] as Int32Array, (to) => (to < 0 ? 0 : group[to])).join()}`
      const known = names.get(key) ?? names.size
      names.set(key, known)
      return known
    })
    group = refined
    if (names.size === count) break
    count = names.size
  }
  const numbers = new Map<number, number>()
  const order: number[] = []
  const numberOf = (at: number): number => {
    const known = numbers.get(group[at] as number)
    if (known !== undefined) return known
    numbers.set(group[at] as number, order.length)
    return order.push(at) - 1
  }
  numberOf(0)
  const edges: (readonly [readonly Range[], number])[][] = []
  for (let i = 0; i < order.length; i++) {
    const byTarget = new Map<number, Range[]>()
    for (const [k, to] of (next[order[i] as number] as Int32Array).entries()) {
      if (to < 0 || alive[to] !== 1) continue
      const number = numberOf(to)
      byTarget.set(number, [...(byTarget.get(number) ?? []), ...(classes[k] as Range[])])
    }
    edges.push([...byTarget].map(([to, ranges]) => [tidy(ranges), to]))
  }
  return { ends: order.map((at) => ends[at] as boolean), edges }
}

/** [n] 1 for states from which an end can be reached. */
function livingStates(next: readonly Int32Array[], ends: readonly boolean[]): Uint8Array {
  const before: number[][] = next.map(() => [])
  for (const [at, row] of next.entries()) for (const to of new Set(row)) if (to >= 0) before[to]?.push(at)
  const alive = Uint8Array.from(ends, Number)
  const open = ends.flatMap((end, at) => (end ? [at] : []))
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    for (const from of before[at] as number[]) {
      if (alive[from] === 1) continue
      alive[from] = 1
      open.push(from)
    }
  }
  return alive
}
