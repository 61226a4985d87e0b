/** Counted repetitions: exact masks, whatever is nested in them, and states that do not grow with the counts. */

import { describe, expect, test } from "bun:test"
import { choice, type Expr, GrammarError, literal, oneOf, Rules, repeat, sequence } from "../../../src/grammar/expr.ts"
import { Masks } from "../../../src/grammar/masks.ts"
import { MatcherPool } from "../../../src/grammar/matcher-pool.ts"
import { Program } from "../../../src/grammar/program.ts"
import { buildTrie } from "../../../src/grammar/token-trie.ts"
import { compiled, type Form, isAllowed, randomNumbers, tinyVocabulary } from "../../support/grammar.ts"
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

const masksOf = (root: Expr, maxCopied?: number): Masks => new Masks(new Program(rulesOf(root), maxCopied), trie)
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const read = (masks: Masks, text: string, from = masks.automaton.start()): number =>
  masks.automaton.read(from, bytes(text))
const allowedAt = (masks: Masks, state: number): string[] =>
  WORDS.filter((_, token) => isAllowed(masks.of(state), token))
const matches = (masks: Masks, text: string): boolean => {
  const state = read(masks, text)
  return state >= 0 && masks.automaton.ends[state] === 1
}

test("a count has one mask until a token can reach a bound, and no states but those", () => {
  const masks = masksOf(repeat(oneOf("ab"), 10_000, 20_000))
  expect(masks.automaton.program.nNodes).toBeLessThan(10)
  const states: number[] = []
  for (let state = masks.automaton.start(), n = 0; n < 20_000; n++) {
    state = read(masks, "a", state)
    states.push(state)
  }
  const at = (n: number): number => states[n - 1] as number
  const [low, high] = [masks.of(at(1)), masks.of(at(10_000))]
  for (const n of [2, 5000, 9990]) expect(masks.of(at(n))).toBe(low)
  for (const n of [10_001, 15_000, 19_990]) expect(masks.of(at(n))).toBe(high)
  expect(masks.automaton.size.rows).toBeLessThan(60)
  for (const n of [1, 9999, 10_000, 19_999, 20_000])
    expect([n, masks.automaton.ends[at(n)]]).toEqual([n, +(n >= 10_000)])
  expect(allowedAt(masks, at(19_997))).toEqual(WORDS.filter((word) => /^[ab]{1,3}$/.test(word)))
  expect(allowedAt(masks, at(19_999))).toEqual(["a", "b"])
  expect(allowedAt(masks, at(20_000))).toEqual([])
})

test("a token may go from one count into the next", () => {
  const masks = masksOf(sequence(repeat(literal("a"), 0, 20_000), repeat(literal("b"), 19_998, 20_000), literal("c")))
  const words = (text: string): string[] => allowedAt(masks, read(masks, text))
  expect(words("a".repeat(100))).toEqual(WORDS.filter((word) => /^a*b*$/.test(word)))
  expect(words("a".repeat(19_998))).toEqual(WORDS.filter((word) => /^a{0,2}b*$/.test(word)))
  expect(words("b".repeat(19_997))).toEqual(["b", "bb", "bc", "bbb", "bbbc"])
  expect(words("b".repeat(20_000))).toEqual(["c"])
})

test("counts up to a million need no more than small ones", () => {
  const sizes = [50, 1_000_000].map((n) => {
    const masks = masksOf(repeat(sequence(oneOf("ab"), repeat(literal("c"), 0, n)), n - 1, n))
    const state = read(masks, "acbccca")
    masks.of(state)
    return [masks.automaton.program.nNodes, masks.automaton.size.rows, masks.automaton.size.states]
  })
  expect(sizes[1]).toEqual(sizes[0] as number[])
  expect(() => masksOf(repeat(literal("a"), 0, 2 ** 26))).toThrow("a count above 67108862 is not supported")
})

test.each([
  ["(a|aa){500}", repeat(choice(literal("a"), literal("aa")), 500, 500), 500, 1000],
  ["(a|aa){3,20000}", repeat(choice(literal("a"), literal("aa")), 3, 20_000), 3, 40_000],
  ["(a*){2,9}", repeat(repeat(literal("a"), 0), 2, 9), 0, Number.POSITIVE_INFINITY],
  ["(a{0,2}){2,9}", repeat(repeat(literal("a"), 0, 2), 2, 9), 0, 18],
  ["(a{2,3}){3,5}", repeat(repeat(literal("a"), 2, 3), 3, 5), 6, 15],
  [
    "((a|aa){0,99}b?){0,99}",
    repeat(sequence(repeat(choice(literal("a"), literal("aa")), 0, 99), repeat(literal("b"), 0, 1)), 0, 99),
    0,
    19_602,
  ],
  ["((a{0,99}b?){0,99}b?){0,99}", nested(3), 0, 970_299],
] as const)(
  "the ways to read %s stay few, and exactly the lengths between the least and the greatest match",
  (_, expr, min, max) => {
    const masks = masksOf(expr, 0)
    const automaton = masks.automaton
    let state = automaton.start()
    const last = Math.min(max + 1, 2500)
    for (let n = 0; n <= last; n++) {
      expect([n, state >= 0 && automaton.ends[state] === 1]).toEqual([n, n >= min && n <= max])
      if (n === last) break
      expect(automaton.threads(state).length).toBeLessThan(40)
      state = automaton.read(state, bytes("a"))
      if (state < 0) expect(n).toBe(max)
      if (state < 0) break
    }
  },
)

function nested(depth: number): Expr {
  const part = depth === 1 ? literal("a") : sequence(nested(depth - 1), repeat(literal("b"), 0, 1))
  return repeat(part, 0, 99)
}

test("a snapshot distinguishes the return to a count from the return to one of its repetitions", () => {
  const rule: Expr = { type: "rule", name: "letters" }
  const rules = rulesOf(sequence(rule, repeat(rule, 3, 500), literal("c")), {
    letters: choice(literal("ab"), literal("aab")),
  })
  const masks = new Masks(new Program(rules, 0), trie)
  for (const [text, next] of [
    ["a", "b"],
    ["aba", "b"],
    ["abaabab", "a"],
    ["ab".repeat(4), "c"],
    ["ab".repeat(501), "c"],
  ] as const) {
    const state = refreshed(masks, read(masks, text))
    expect([text, allowedAt(masks, state).includes(next)]).toEqual([text, true])
    expect([text, matches(masks, `${text}${next === "b" ? "b" : ""}c`)]).toEqual([text, next === "c"])
    for (const rest of ["c", "bc", `${"ab".repeat(496)}c`]) {
      const end = masks.automaton.read(state, bytes(rest))
      expect([text, rest, end >= 0]).toEqual([text, rest, read(masks, `${text}${rest}`) >= 0])
    }
  }
})

/** A tool's parameters: `nStrings` long strings, and as many long lists of objects. */
const parametersOf = (nStrings: number, length: number) => ({
  type: "object",
  properties: Object.fromEntries(
    Array.from({ length: nStrings }, (_, i) => [
      [`text_${i}`, { type: "string", minLength: 1, maxLength: length }],
      [
        `list_${i}`,
        {
          type: "array",
          maxItems: length,
          items: { type: "object", properties: { a: { type: "string", maxLength: length } }, required: ["a"] },
        },
      ],
    ]).flat(),
  ),
  required: ["text_0"],
  additionalProperties: false,
})

const toolsOf = (length: number, nStrings = 10): Form => ({
  type: "tools",
  trigger: "<tool_call>",
  open: "\n",
  calls: Array.from({ length: 64 }, (_, i) => ({
    begin: `{"name": "tool_${i}", "arguments": `,
    parameters: JSON.stringify(parametersOf(nStrings, length)),
    end: "}",
  })),
  close: "\n</tool_call>",
  between: "\n",
  required: false,
  parallel: true,
})

describe("64 tools with ten long strings and ten long lists each", () => {
  const tiny = tinyVocabulary()
  const begin = '<tool_call>\n{"name": "tool_7", "arguments": {"text_0": "'

  test("take as many nodes as with short ones, and few states", () => {
    const [short, long] = [200, 20_000].map((length) => compiled(toolsOf(length), tiny.trie)) as [Masks, Masks]
    expect(long.automaton.program.nNodes).toBe(short.automaton.program.nNodes)
    const { nNodes, items } = long.automaton.program
    // Kinds, starts and items take 8 bytes each; see "Most nodes of a program" for the whole.
    expect(8 * (2 * nNodes + items.length)).toBeLessThan(2 ** 21)
    long.of(long.automaton.start())
    const { rows, states, parts } = long.automaton.size
    expect(rows * 1024).toBeLessThan(2 ** 20)
    expect(states + parts).toBeLessThan(2000)
  })

  test("have one mask inside long strings, and one for each place of a list's items", () => {
    const masks = compiled(toolsOf(20_000), tiny.trie)
    let state = read(masks, begin)
    expect(isAllowed(masks.of(state), tiny.tokenizer.encode('"')[0] as number)).toBe(false) // `minLength` is 1
    state = read(masks, "x", state)
    const inside = masks.of(state)
    const nRows = masks.automaton.size.rows
    for (let i = 0; i < 1900; i++) {
      state = read(masks, "long text ", state)
      expect(masks.of(state)).toBe(inside)
    }
    // The state before a count, and those after a bound, have a row.
    expect(masks.automaton.size.rows).toBe(nRows)
    state = read(masks, '", "list_0": [{"a": "b"}', state)
    const list: Uint32Array[] = []
    for (let i = 0; i < 500; i++) {
      state = read(masks, ', {"a": ', state)
      const [value, more] = [masks.of(state), read(masks, '"x', state)]
      list.push(value, masks.of(more))
      state = read(masks, '"}', more)
    }
    expect(new Set(list).size).toBe(2)
  })

  test("refuse exactly what is too long", () => {
    const masks = compiled(toolsOf(300), tiny.trie)
    const call = (text: string, n: number) =>
      `${begin}${text}", "list_0": [${Array(n).fill('{"a": "b"}').join(", ")}]}}\n</tool_call>`
    expect(matches(masks, call("x".repeat(300), 300))).toBe(true)
    expect(matches(masks, call("\\n".repeat(300), 1))).toBe(true)
    expect(matches(masks, call("x".repeat(301), 1))).toBe(false)
    expect(matches(masks, call("", 1))).toBe(false)
    expect(matches(masks, call("x", 301))).toBe(false)
  })
})

test("sequences at different counts keep their places when states are dropped", () => {
  const masks = new Map<number, Uint32Array>()
  let refused = ""
  const pool = new MatcherPool(trie, (message) => {
    if (message.type === "mask") masks.set(message.id, message.mask)
    else if (message.type !== "begun") refused += `${message.type}: ${"reason" in message ? message.reason : ""}`
  })
  const pattern = "(?:[ab]{2}){500}(?:(?:[ab]{3}){3000}){2}c"
  const constraint = JSON.stringify({ type: "regex", pattern, param: "regex" })
  const [a, aa, b] = ["a", "aa", "b"].map((word) => WORDS.indexOf(word)) as [number, number, number]
  const last = WORDS.indexOf("c")
  for (const id of [1, 2]) pool.receive({ type: "open", id, constraint, stopTokens: [], tokens: id === 1 ? [] : [b] })
  for (let n = 0; n < 9500; n++) for (const id of [1, 2]) pool.receive({ type: "accept", id, token: id === 1 ? aa : b })
  expect(refused).toBe("")
  expect(WORDS.filter((_, token) => isAllowed(masks.get(1) as Uint32Array, token))).toEqual(["c"])
  for (let n = 0; n < 9499; n++) pool.receive({ type: "accept", id: 2, token: a })
  expect(WORDS.filter((_, token) => isAllowed(masks.get(2) as Uint32Array, token))).toEqual(["c"])
  pool.receive({ type: "accept", id: 2, token: last })
  expect(masks.get(2)).toEqual(Uint32Array.of(0))
  expect(refused).toBe("")
})
