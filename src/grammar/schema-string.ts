/** Strings of a schema: patterns, formats and lengths as one term. */

import { type Expr, GrammarError } from "./expr.ts"
import { formatOf, WEB_ADDRESS } from "./formats.ts"
import { jsonChars, limitedString, quoted } from "./json-text.ts"
import { wholeMatch } from "./regex.ts"
import { type Context, type Path, SchemaError } from "./schema-flat.ts"
import type { Own } from "./schema-own.ts"
import { rewritten } from "./term-expr.ts"
import { lengthsOf, type Term, withLength } from "./terms.ts"

/** The limit of length that pydantic's `HttpUrl` writes beside the format `uri`. */
const WEB_LENGTH = 2083

/** @returns `undefined` where no string is valid. */
export function stringExpr(context: Context, own: Own, excluded: readonly string[], path: Path): Expr | undefined {
  const { rules } = context
  const { min, max } = own.length
  if (own.content !== undefined) {
    if (min > 0 || Number.isFinite(max) || own.patterns.length + own.notPatterns.length + own.formats.length > 0)
      throw new SchemaError(
        "'contentMediaType' beside other limits of a string is not supported",
        path,
        "contentMediaType",
      )
    return quoted(rewritten(rules, context.value(own.content, `${path}/contentSchema`), jsonChars))
  }
  const formats = own.formats.filter((name) => formatOf(name) !== undefined)
  const free = formats.length + own.patterns.length + own.notPatterns.length + excluded.length === 0
  if (free) {
    if (min === 0 && max === Number.POSITIVE_INFINITY) return rules.string
    return limitedString(min, Number.isFinite(max) ? max : undefined)
  }
  const term = limitedTerm(context, own, excluded, formats, path)
  return term === undefined ? undefined : rules.add(quoted(rules.term(term, jsonChars)))
}

/** The term of a property's name or a string; `undefined` where there is none. */
export function limitedTerm(
  context: Context,
  own: Own,
  excluded: readonly string[],
  formats: readonly string[],
  path: Path,
): Term | undefined {
  const { rules, flattener } = context
  const { terms } = rules
  const beside = [
    ...own.patterns.map((pattern) => flattener.pattern(pattern, path)),
    ...own.notPatterns.map((pattern) => terms.not(flattener.pattern(pattern, path))),
    ...(excluded.length === 0 ? [] : [terms.not(terms.or(...excluded.map((text) => terms.text(text))))]),
  ]
  const written = formats.map((name) => wholeMatch(terms, writtenAs(name, own)))
  const allowed = formats.map((name) => wholeMatch(terms, formatOf(name)?.allows ?? writtenAs(name, own)))
  // A pattern that limits the length needs no other limit, and fewer cases without one.
  const isLimited = own.patterns.some((pattern) => Number.isFinite(lengthsOf(flattener.pattern(pattern, path))[1]))
  const isLarge = isLimited || formats.some((name) => formatOf(name)?.isLarge)
  const attempts = own.patterns.length === 0 ? [written] : isLarge ? [allowed, written] : [written, allowed]
  const { min, max } = own.length
  let failure: SchemaError | undefined
  for (const attempt of formats.length === 0 ? [[]] : attempts) {
    const term = withLength(terms, terms.and(...attempt, ...beside), min, max)
    try {
      if (!rules.isEmpty(term)) return term
    } catch (error) {
      if (!(error instanceof GrammarError)) throw error
      failure = new SchemaError(error.message, path, own.patterns.length > 0 ? "pattern" : "format")
    }
  }
  if (failure) throw failure
  return undefined
}

function writtenAs(name: string, { length }: Own): string {
  return name === "uri" && length.max === WEB_LENGTH ? WEB_ADDRESS : (formatOf(name)?.writes ?? "")
}
