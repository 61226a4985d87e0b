/**
 * Regular languages of characters as terms: regular expressions with intersection and complement. Equal terms are one object, so that the
 * derivatives of a term (Brzozowski 1964) are finitely many and serve as the states of its automaton.
 */

import { ALL_CHARS, type Range, tidy, without } from "./expr.ts"

export type Term = { readonly id: number; readonly nullable: boolean } & (
  | { readonly kind: "none" | "empty" }
  | { readonly kind: "chars"; readonly ranges: readonly Range[] }
  | { readonly kind: "sequence"; readonly first: Term; readonly rest: Term }
  | { readonly kind: "or" | "and"; readonly parts: readonly Term[] }
  | { readonly kind: "not"; readonly part: Term }
  | { readonly kind: "repeat"; readonly part: Term; readonly min: number; readonly max: number }
  | { readonly kind: "multiple"; readonly of: Multiple }
)

/**
 * The rest of a decimal number that is a multiple of `unit` · 10^-`places`. `remainder`: that of the digits before; `place`: how many of
 * these come after the point, -1 before the point.
 */
interface Multiple {
  readonly unit: bigint
  readonly places: number
  readonly remainder: bigint
  readonly place: number
}

/** A term by its content; {@link Terms} adds the number. */
type Shape = Term extends infer T ? (T extends Term ? Omit<T, "id"> : never) : never

const POINT = 0x2e
const ZERO = 0x30

/** Makes terms, each once. */
export class Terms {
  readonly #known = new Map<string, Term>()
  readonly #sets = new Map<string, Term>()
  /** By number of a term and character. */
  readonly #derived = new Map<number, Term>()
  readonly none = this.#make("none", { kind: "none", nullable: false })
  readonly empty = this.#make("empty", { kind: "empty", nullable: true })
  readonly anyChar = this.chars(ALL_CHARS)
  readonly any = this.repeat(this.anyChar, 0)

  #make(key: string, shape: Shape): Term {
    const known = this.#known.get(key)
    if (known) return known
    const term = { ...shape, id: this.#known.size } as Term
    this.#known.set(key, term)
    return term
  }

  /** One character of these tidy ranges. */
  chars(ranges: readonly Range[]): Term {
    if (ranges.length === 0) return this.none
    return this.#make(`c${ranges.join(";")}`, { kind: "chars", ranges, nullable: false })
  }

  oneOf(chars: string): Term {
    const known = this.#sets.get(chars)
    if (known) return known
    const codes = Array.from(chars, (char): Range => [char.codePointAt(0) as number, char.codePointAt(0) as number])
    const term = this.chars(tidy(codes))
    this.#sets.set(chars, term)
    return term
  }

  text(text: string): Term {
    return this.sequence(...Array.from(text, (char) => this.oneOf(char)))
  }

  sequence(...parts: readonly Term[]): Term {
    return parts.reduceRight((rest, first) => this.#pair(first, rest), this.empty)
  }

  #pair(first: Term, rest: Term): Term {
    if (first === this.none || rest === this.none) return this.none
    if (first === this.empty) return rest
    if (rest === this.empty) return first
    if (first.kind === "sequence") return this.#pair(first.first, this.#pair(first.rest, rest))
    // `a*` before `[ab]*` adds nothing, nor after it.
    const [next, after] = rest.kind === "sequence" ? [rest.first, rest.rest] : [rest, this.empty]
    if (isStar(first) && isStar(next)) {
      if (this.#within(first, next)) return rest
      if (this.#within(next, first)) return this.#pair(first, after)
    }
    const nullable = first.nullable && rest.nullable
    return this.#make(`s${first.id},${rest.id}`, { kind: "sequence", first, rest, nullable })
  }

  #within(a: Term, b: Term): boolean {
    if (a === b) return true
    if (a.kind !== "repeat" || b.kind !== "repeat" || a.part.kind !== "chars" || b.part.kind !== "chars") return false
    return without(a.part.ranges, b.part.ranges).length === 0
  }

  or(...parts: readonly Term[]): Term {
    const flat = parts.flatMap((part) => (part.kind === "or" ? part.parts : [part]))
    if (flat.includes(this.any)) return this.any
    const chars = flat.filter((part) => part.kind === "chars")
    const joined = chars.length > 1 ? [this.chars(tidy(chars.flatMap((part) => [...part.ranges])))] : chars
    const kept = unique([...flat.filter((part) => part.kind !== "chars" && part !== this.none), ...joined])
    if (kept.length <= 1) return kept[0] ?? this.none
    const nullable = kept.some((part) => part.nullable)
    return this.#make(`o${kept.map(({ id }) => id)}`, { kind: "or", parts: kept, nullable })
  }

  and(...parts: readonly Term[]): Term {
    const flat = parts.flatMap((part) => (part.kind === "and" ? part.parts : [part]))
    const kept = unique(flat.filter((part) => part !== this.any))
    if (kept.includes(this.none)) return this.none
    if (kept.length <= 1) return kept[0] ?? this.any
    if (kept.includes(this.empty)) return kept.every((part) => part.nullable) ? this.empty : this.none
    const nullable = kept.every((part) => part.nullable)
    return this.#make(`a${kept.map(({ id }) => id)}`, { kind: "and", parts: kept, nullable })
  }

  not(part: Term): Term {
    if (part.kind === "not") return part.part
    if (part === this.any) return this.none
    if (part === this.none) return this.any
    return this.#make(`n${part.id}`, { kind: "not", part, nullable: !part.nullable })
  }

  repeat(part: Term, min: number, max = Number.POSITIVE_INFINITY): Term {
    if (max === 0 || part === this.empty) return this.empty
    if (part === this.none) return min === 0 ? this.empty : this.none
    if (min === 1 && max === 1) return part
    if (isStar(part)) return part
    const least = part.nullable ? 0 : min
    return this.#make(`r${part.id},${least},${max}`, {
      kind: "repeat",
      part,
      min: least,
      max,
      nullable: least === 0,
    })
  }

  optional(part: Term): Term {
    return part.nullable ? part : this.repeat(part, 0, 1)
  }

  /** Decimal numbers without sign and exponent that are multiples of `unit` · 10^-`places`. */
  multiple(unit: bigint, places: number): Term {
    return this.#multiple({ unit, places, remainder: 0n, place: -1 })
  }

  #multiple(of: Multiple): Term {
    const { unit, places, remainder, place } = of
    const nullable = (remainder * 10n ** BigInt(places - Math.max(0, place))) % unit === 0n
    return this.#make(`m${unit},${places},${remainder},${place}`, { kind: "multiple", of, nullable })
  }

  /** What may follow after a character. */
  derivative(term: Term, code: number): Term {
    if (term.kind === "chars" || term.kind === "none" || term.kind === "empty") return this.#derive(term, code)
    const key = term.id * 2 ** 21 + code
    const known = this.#derived.get(key) ?? this.#derive(term, code)
    this.#derived.set(key, known)
    return known
  }

  #derive(term: Term, code: number): Term {
    switch (term.kind) {
      case "none":
      case "empty":
        return this.none
      case "chars":
        return term.ranges.some(([first, last]) => first <= code && code <= last) ? this.empty : this.none
      case "sequence": {
        const first = this.#pair(this.derivative(term.first, code), term.rest)
        return term.first.nullable ? this.or(first, this.derivative(term.rest, code)) : first
      }
      case "or":
        return this.or(...term.parts.map((part) => this.derivative(part, code)))
      case "and":
        return this.and(...term.parts.map((part) => this.derivative(part, code)))
      case "not":
        return this.not(this.derivative(term.part, code))
      case "repeat":
        return this.#pair(
          this.derivative(term.part, code),
          this.repeat(term.part, Math.max(0, term.min - 1), term.max - 1),
        )
      case "multiple":
        return this.#digit(term.of, code)
    }
  }

  #digit(of: Multiple, code: number): Term {
    const { unit, places, remainder, place } = of
    if (code === POINT) return place < 0 ? this.#multiple({ ...of, place: 0 }) : this.none
    const digit = code - ZERO
    if (digit < 0 || digit > 9) return this.none
    if (place >= places) return digit === 0 ? this.#multiple(of) : this.none
    return this.#multiple({
      ...of,
      remainder: (remainder * 10n + BigInt(digit)) % unit,
      place: place < 0 ? place : place + 1,
    })
  }

  matches(term: Term, text: string): boolean {
    let at = term
    for (const char of text) {
      at = this.derivative(at, char.codePointAt(0) as number)
      if (at === this.none) return false
    }
    return at.nullable
  }
}

function unique(parts: readonly Term[]): Term[] {
  return [...new Set(parts)].sort((a, b) => a.id - b.id)
}

const isStar = (term: Term): boolean =>
  term.kind === "repeat" && term.max === Number.POSITIVE_INFINITY && term.min === 0

/** Bounds of the number of characters; complements are not looked into. */
export function lengthsOf(term: Term): readonly [min: number, max: number] {
  switch (term.kind) {
    case "none":
    case "empty":
      return [0, 0]
    case "chars":
      return [1, 1]
    case "sequence": {
      const [first, rest] = [lengthsOf(term.first), lengthsOf(term.rest)]
      return [first[0] + rest[0], first[1] + rest[1]]
    }
    case "or": {
      const parts = term.parts.map(lengthsOf)
      return [Math.min(...parts.map(([min]) => min)), Math.max(...parts.map(([, max]) => max))]
    }
    case "repeat": {
      const [min, max] = lengthsOf(term.part)
      return [min * term.min, max === 0 ? 0 : max * term.max]
    }
    case "and": {
      const parts = term.parts.map(lengthsOf)
      return [Math.max(...parts.map(([min]) => min)), Math.min(...parts.map(([, max]) => max))]
    }
    default:
      return [0, Number.POSITIVE_INFINITY]
  }
}

/** The texts of `term` with `min` to `max` characters. Where one loop of single characters takes all the slack, its count is changed. */
export function withLength(terms: Terms, term: Term, min: number, max: number): Term {
  if (term.kind === "and") {
    // Limits of lengths that are in the term already join the others.
    const limits = term.parts.filter((part) => part.kind === "repeat" && part.part === terms.anyChar)
    const rest = terms.and(...term.parts.filter((part) => !limits.includes(part)))
    const bounds = [[min, max], ...limits.map(lengthsOf)] as readonly (readonly [number, number])[]
    const [low, high] = [Math.max(...bounds.map(([least]) => least)), Math.min(...bounds.map(([, most]) => most))]
    if (low > high) return terms.none
    const [least, most] = lengthsOf(rest)
    return least >= low && most <= high ? rest : terms.and(rest, terms.repeat(terms.anyChar, low, high))
  }
  const [least, most] = lengthsOf(term)
  if (least >= min && most <= max) return term
  const parts = partsOf(term)
  const loops = parts.filter((part) => part.kind === "repeat" && part.part.kind === "chars" && part.min < part.max)
  const [loop] = loops
  const fixed = parts.filter((part) => part !== loop)
  const lengths = fixed.map(lengthsOf)
  if (loops.length === 1 && loop?.kind === "repeat" && lengths.every(([a, b]) => a === b)) {
    const others = lengths.reduce((sum, [length]) => sum + length, 0)
    const [low, high] = [Math.max(loop.min, min - others), Math.min(loop.max, max - others)]
    if (low > high) return terms.none
    return terms.sequence(...parts.map((part) => (part === loop ? terms.repeat(loop.part, low, high) : part)))
  }
  return terms.and(term, terms.repeat(terms.anyChar, min, max))
}

/** The characters that texts of the term can have, or more. */
export function alphabetOf(term: Term): readonly Range[] {
  switch (term.kind) {
    case "none":
    case "empty":
      return []
    case "chars":
      return term.ranges
    case "sequence":
      return tidy([...alphabetOf(term.first), ...alphabetOf(term.rest)])
    case "or":
      return tidy(term.parts.flatMap(alphabetOf))
    case "repeat":
      return alphabetOf(term.part)
    default:
      return ALL_CHARS
  }
}

const partsOf = (term: Term): Term[] => (term.kind === "sequence" ? [term.first, ...partsOf(term.rest)] : [term])

/** Whether the term has an intersection, a complement or a multiple, which only an automaton can express. */
export function needsAutomaton(term: Term): boolean {
  switch (term.kind) {
    case "sequence":
      return needsAutomaton(term.first) || needsAutomaton(term.rest)
    case "or":
      return term.parts.some(needsAutomaton)
    case "repeat":
      return needsAutomaton(term.part)
    case "none":
    case "empty":
    case "chars":
      return false
    default:
      return true
  }
}
