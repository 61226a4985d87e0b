/** Counted repetitions: exact masks, whatever is nested in them, and states that do not grow with the counts. */

import { describe, expect, test } from "bun:test"
import { choice, type Expr, GrammarError, literal, oneOf, Rules, repeat, sequence } from "../../../src/grammar/expr.ts"
import { Masks } from "../../../src/grammar/masks.ts"
import { Program } from "../../../src/grammar/program.ts"
import { buildTrie } from "../../../src/grammar/token-trie.ts"
import { isAllowed, randomNumbers } from "../../support/grammar.ts"
import { unrolled } from "../../support/unrolled.ts"

/** The letters, all pairs and triples of a and b, and longer tokens: up to seven repetitions end within one. */
const WORDS = [
  ..."abc",
  ...["aa", "ab", "ba", "bb", "bc", "cc"],
  ...["aaa", "aab", "aba", "abb", "baa", "bab", "bba", "bbb"],
  ...["aaaa", "abab", "bbbc", "aaaaa", "ababc", "aaaaaaa", "abcabca", "bbbbbbb"],
]
const trie = buildTrie(
  {
    vocabSize: WORDS.length,
    isSpecial: () => false,
    piece: (token) => WORDS[token] as string,
    tokenBytes: (token) => new TextEncoder().encode(WORDS[token]),
  },
  WORDS.length,
)

const N_GRAMMARS = 300
/** Most threads of a state of copies that is compared. */
const MAX_THREADS = 100

const rulesOf = (root: Expr, others: Record<string, Expr> = {}): Rules => {
  const rules = new Rules()
  for (const [name, body] of Object.entries(others)) rules.define(name, body)
  rules.define("root", root)
  return rules
}

type Random = () => number
const upTo = (random: Random, n: number): number => Math.floor(random() * (n + 1))

function randomCount(part: Expr, random: Random, depth: number): Expr {
  const most = depth === 0 ? 24 : depth === 1 ? 6 : 3
  const min = random() < 0.4 ? 0 : upTo(random, most)
  return repeat(part, min, random() < 0.2 ? undefined : Math.max(1, min + upTo(random, most)))
}

/** @param rule A rule that may be named; it is not in the parts that may be read before any character. */
function randomExpr(random: Random, depth = 0, rule?: string): Expr {
  const kind = depth > 3 ? upTo(random, 2) : upTo(random, 9)
  const inner = (): Expr => randomExpr(random, depth + 1, rule)
  if (kind === 0) return literal(["a", "b", "ab", "aab"][upTo(random, 3)] as string)
  if (kind === 1) return oneOf(random() < 0.5 ? "ab" : "abc")
  if (kind === 2) return rule === undefined ? literal("c") : { type: "rule", name: rule }
  if (kind === 3) return choice(inner(), inner())
  if (kind <= 5) return sequence(inner(), inner())
  return randomCount(inner(), random, depth)
}

function randomRules(random: Random): Rules {
  // The second rule is recursive.
  const end = choice(randomExpr(random, 2), sequence(oneOf("ab"), { type: "rule", name: "two" }, literal("b")))
  return rulesOf(randomExpr(random, 0, "one"), { one: randomExpr(random, 1, "two"), two: end })
}

/** The rules as a text, for messages. */
const show = ({ bodies }: Rules): string => [...bodies].map(([name, body]) => `${name} ::= ${shown(body)}`).join("\n")

function shown(expr: Expr): string {
  if (expr.type === "text") return `"${new TextDecoder().decode(expr.bytes)}"`
  if (expr.type === "chars") return `[${expr.ranges.map((range) => String.fromCodePoint(...range)).join(" ")}]`
  if (expr.type === "rule") return expr.name
  if (expr.type === "repeat") return `${shown(expr.part)}{${expr.min},${expr.max ?? ""}}`
  if (expr.type === "free") return "…"
  return `(${expr.parts.map(shown).join(expr.type === "choice" ? " | " : " ")})`
}

const refreshed = (masks: Masks, state: number): number => {
  const kept = masks.automaton.snapshot(state)
  masks.forget()
  return masks.automaton.restore(kept)
}

/** Reads the same random tokens with both, and compares all masks. @returns the number of masks. */
function compare(shown: string, counted: Masks, copied: Masks, random: Random, limit: number): number {
  const text: string[] = []
  let state = counted.automaton.start()
  let other = outcome(() => copied.automaton.start())
  for (let n = 0; n < limit; n++) {
    // Ambiguous copies take long, and are refused where counts are not.
    if (typeof other === "string" || copied.automaton.threads(other).length > MAX_THREADS * 2) return n
    const [before, wanted] = [other, copied.of(other)]
    const mask = counted.of(state)
    const ends = [counted.automaton.ends[state], copied.automaton.ends[other]]
    expect([shown, text, mask, ends[0]]).toEqual([shown, text, wanted, ends[1]])
    const allowed = WORDS.map((_, token) => token).filter((token) => isAllowed(mask, token))
    const token = allowed[Math.floor(random() * allowed.length)]
    if (token === undefined) return n + 1
    const refused = WORDS.findIndex((_, id) => !isAllowed(mask, id))
    if (refused >= 0) expect(counted.after(state, refused)).toBe(-1)
    text.push(WORDS[token] as string)
    state = counted.after(state, token)
    other = outcome(() => copied.after(before, token))
    if (random() < 0.1) state = refreshed(counted, state)
    if (copied.automaton.isFull && typeof other !== "string") other = refreshed(copied, other)
  }
  return limit
}

/** What `make` returns, or the message of its GrammarError. */
function outcome<T>(make: () => T): T | string {
  try {
    return make()
  } catch (error) {
    if (error instanceof GrammarError) return error.message
    throw error
  }
}

describe.each([
  ["counted always", 0],
  ["copied where they are small", undefined],
] as const)("repetitions that are %s", (_, maxCopied) => {
  test("have the masks of copies, in random grammars", () => {
    const random = randomNumbers(17)
    const seen = { grammars: 0, masks: 0, refused: 0, large: 0 }
    while (seen.grammars < N_GRAMMARS) {
      const rules = randomRules(random)
      const copied = outcome(() => new Program(unrolled(rules), 0))
      const counted = outcome(() => new Program(rules, maxCopied))
      if (typeof copied === "string" || typeof counted === "string" || copied.nNodes > 3000) {
        if (typeof copied === "string" && typeof counted === "string") {
          expect([show(rules), counted]).toEqual([show(rules), copied])
          seen.refused++
        } else seen.large++
        continue
      }
      seen.grammars++
      for (let run = 0; run < 2; run++)
        seen.masks += compare(show(rules), new Masks(counted, trie), new Masks(copied, trie), random, 40)
    }
    expect(seen.masks).toBeGreaterThan(8 * N_GRAMMARS)
    expect(seen.large).toBeLessThan(seen.grammars)
  })
})
