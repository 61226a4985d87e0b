import { seededRandom } from "./gguf-fixtures.ts"
import { type HeaderField, headerFields } from "./gguf-layout.ts"

export interface Mutant {
  bytes: Uint8Array
  /** Describes the damage, to identify a failing case. */
  description: string
}

type Random = () => number

/** Values that often break parsers: zero, one, and both sides of every integer width to which a size can be truncated. */
const ATTACKS = [
  0n,
  1n,
  7n,
  0x7fn,
  0xffn,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x1_0000_0001n,
  (1n << 53n) - 1n,
  1n << 53n,
  (1n << 61n) + 1n,
  (1n << 63n) - 1n,
  1n << 63n,
  (1n << 64n) - 32n,
  (1n << 64n) - 1n,
]

const below = (random: Random, limit: number) => Math.floor(random() * limit)
const pick = <T>(random: Random, items: readonly T[]): T => {
  const item = items[below(random, items.length)]
  if (item === undefined) throw new RangeError("nothing to pick from")
  return item
}

/** Flips 1 to 16 bits, in nine of ten cases in the header. */
function flipBits(file: Uint8Array, random: Random): Mutant {
  const { end } = headerFields(file)
  const bytes = file.slice()
  const count = 1 + below(random, 16)
  const places: string[] = []
  for (let i = 0; i < count; i++) {
    const at = below(random, random() < 0.9 ? end : bytes.length)
    const bit = below(random, 8)
    bytes[at] = (bytes[at] ?? 0) ^ (1 << bit)
    places.push(`${at}.${bit}`)
  }
  return { bytes, description: `bits ${places.join(" ")} flipped` }
}

/** Truncates the file at any byte, mostly within the header or at the edge of a header field. */
function truncate(file: Uint8Array, random: Random): Mutant {
  const { fields, end } = headerFields(file)
  const field = pick(random, fields)
  const length = pick(random, [
    field.at,
    field.at + field.bytes - 1,
    below(random, end),
    below(random, file.length),
    end,
  ])
  return { bytes: file.slice(0, length), description: `cut to ${length} bytes` }
}

/** Replaces, inserts or removes a run of header bytes. New bytes come from elsewhere in this header or from the header of `other`. */
function splice(file: Uint8Array, random: Random, other: Uint8Array): Mutant {
  const { end } = headerFields(file)
  const donor = random() < 0.5 ? file : other
  const donorEnd = headerFields(donor).end
  const from = below(random, donorEnd)
  const run = donor.subarray(from, Math.min(donorEnd, from + 1 + below(random, 400)))
  const at = below(random, end)
  const removed = pick(random, [0, run.length, 1 + below(random, 200)])
  const inserted = random() < 0.25 ? new Uint8Array(0) : run
  const bytes = Buffer.concat([file.subarray(0, at), inserted, file.subarray(at + removed)])
  return {
    bytes: new Uint8Array(bytes),
    description: `${removed} bytes at ${at} replaced by ${inserted.length} of ${donor === file ? "its own" : "another file's"} from ${from}`,
  }
}

/** Overwrites one to three header fields with values that overflow, wrap around, or are slightly larger than the valid ones. */
function attackFields(file: Uint8Array, random: Random): Mutant {
  const { fields, end } = headerFields(file)
  const bytes = file.slice()
  const view = new DataView(bytes.buffer)
  const done: string[] = []
  for (let i = 0; i <= below(random, 3); i++) {
    const field: HeaderField = pick(random, fields)
    const near = [bytes.length, bytes.length - field.at, end - field.at, bytes.length - end].map((size) =>
      BigInt(Math.max(0, size)),
    )
    const value = random() < 0.3 ? pick(random, near) + BigInt(below(random, 3)) : pick(random, ATTACKS)
    if (field.bytes === 8) view.setBigUint64(field.at, BigInt.asUintN(64, value), true)
    else if (field.bytes === 4) view.setUint32(field.at, Number(BigInt.asUintN(32, value)), true)
    else bytes[field.at] = Number(BigInt.asUintN(8, value))
    done.push(`${field.kind} of "${field.name}" at ${field.at} = ${value}`)
  }
  return { bytes, description: done.join(", ") }
}

/**
 * Damages a valid GGUF file. The seed selects the kind of damage: 0, 1, 2 and 3 modulo 4 flip bits, truncate, splice and overwrite fields.
 * The same arguments always give the same mutant.
 * @param file a valid file
 * @param other a second valid file, from which splices may copy bytes
 */
export function mutateGguf(file: Uint8Array, seed: number, other: Uint8Array = file): Mutant {
  const random = seededRandom(seed)
  switch (seed % 4) {
    case 0:
      return flipBits(file, random)
    case 1:
      return truncate(file, random)
    case 2:
      return splice(file, random, other)
    default:
      return attackFields(file, random)
  }
}
