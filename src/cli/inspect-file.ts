/** What a GGUF file holds, as JSON and as text: weight formats and metadata. */

import { describeType, type MetadataArray, type MetadataValue } from "../gguf/metadata.ts"
import type { Gguf } from "../gguf/reader.ts"
import { printable, table } from "./format.ts"

/** Longer arrays (vocabularies, merges) are shown by their type and length. */
const MAX_ARRAY_ITEMS = 16
const MAX_TEXT = 100

export function parameterCount(gguf: Gguf): number {
  return [...gguf.tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0)
}

interface FormatShare {
  format: string
  tensors: number
  bytes: number
  /** Share of all tensor bytes, 0 … 1. */
  share: number
}

/** The weight formats of the file's tensors, by their bytes in descending order. */
export function formatMix(gguf: Gguf): FormatShare[] {
  const byFormat = new Map<string, { tensors: number; bytes: number }>()
  let total = 0
  for (const { typeName, nBytes } of gguf.tensors.values()) {
    const entry = byFormat.get(typeName) ?? { tensors: 0, bytes: 0 }
    byFormat.set(typeName, { tensors: entry.tensors + 1, bytes: entry.bytes + nBytes })
    total += nBytes
  }
  return [...byFormat]
    .map(([format, entry]) => ({ format, ...entry, share: total > 0 ? entry.bytes / total : 0 }))
    .sort((a, b) => b.bytes - a.bytes)
}

/** Metadata for JSON. Long arrays become their type and length; 64-bit integers beyond 2^53 - 1 become text. */
export function metadataJson(gguf: Gguf): Record<string, unknown> {
  return Object.fromEntries([...gguf.metadata].map(([key, value]) => [key, jsonValue(value)]))
}

function jsonValue(entry: MetadataValue): unknown {
  if (entry.type === "f32") return shortestFloat(entry.value)
  if (entry.type !== "array") return jsonScalar(entry.value)
  if (entry.value.length > MAX_ARRAY_ITEMS) return { type: describeType(entry), length: entry.value.length }
  return items(entry).map((item) => (isNested(item) ? jsonValue(item) : jsonScalar(item)))
}

function jsonScalar(value: unknown): unknown {
  if (typeof value !== "bigint") return value
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value.toString()
}

/** The shortest decimal number that rounds to this f32: 0.00001, not 0.000009999999747378752. */
function shortestFloat(value: number): number {
  for (const precision of [6, 7, 8]) {
    const short = Number(value.toPrecision(precision))
    if (Math.fround(short) === value) return short
  }
  return value
}

const isNested = (item: unknown): item is MetadataArray =>
  typeof item === "object" && item !== null && "elementType" in item

const items = (entry: MetadataArray): unknown[] => Array.from(entry.value as ArrayLike<unknown>)

/** Metadata as text, one key a line. */
export function metadataText(gguf: Gguf): string {
  return table([...gguf.metadata].map(([key, value]) => [printable(key), describeType(value), shortText(value)]))
}

function shortText(entry: MetadataValue): string {
  if (entry.type === "array" && entry.value.length > MAX_ARRAY_ITEMS) return `${entry.value.length} items`
  const value = jsonValue(entry)
  const text = typeof value === "string" ? printable(value) : JSON.stringify(value)
  return text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}… (${text.length} characters)` : text
}
