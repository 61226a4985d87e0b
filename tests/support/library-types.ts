/** Ordinary types as zod's users write them. */

import { z } from "zod"

interface Tree {
  v: number
  children: Tree[]
}
const tree: z.ZodType<Tree> = z.object({ v: z.int(), children: z.array(z.lazy(() => tree)).max(2) })

/** By name, what a field may be. */
export const zodTypes: Readonly<Record<string, z.ZodType>> = {
  url: z.url(),
  email: z.email(),
  uuid: z.uuid(),
  "iso.datetime": z.iso.datetime(),
  "iso.date": z.iso.date(),
  "iso.duration": z.iso.duration(),
  ipv6: z.ipv6(),
  base64: z.base64(),
  record: z.record(z.string(), z.number()),
  discriminatedUnion: z.discriminatedUnion("k", [z.object({ k: z.literal("a") }), z.object({ k: z.literal("b") })]),
  int: z.int(),
  multipleOf: z.number().multipleOf(5),
  regex: z.string().regex(/^a+$/),
  startsWith: z.string().startsWith("a"),
  nullable: z.string().nullable(),
  tuple: z.tuple([z.string(), z.number()]),
  nonempty: z.array(z.string()).min(1),
  enum: z.enum(["a", "b"]),
  default: z.string().default("x"),
  looseObject: z.looseObject({ a: z.string() }),
  cuid: z.cuid(),
  jwt: z.jwt(),
  emoji: z.emoji(),
  nanoid: z.nanoid(),
  ulid: z.ulid(),
  e164: z.e164(),
  unknown: z.unknown(),
  ipv4: z.ipv4(),
  cidrv4: z.cidrv4(),
  cidrv6: z.cidrv6(),
  "iso.time": z.iso.time(),
  "iso.datetime with an offset": z.iso.datetime({ offset: true }),
  base64url: z.base64url(),
  guid: z.guid(),
  endsWith: z.string().endsWith("z"),
  includes: z.string().includes("q"),
  lowercase: z.string().lowercase(),
  "record of some": z.record(z.enum(["a", "b"]), z.number()),
  partialRecord: z.partialRecord(z.enum(["a", "b"]), z.number()),
  "record by pattern": z.record(z.string().regex(/^x/), z.number()),
  cuid2: z.cuid2(),
  xid: z.xid(),
  ksuid: z.ksuid(),
  float32: z.float32(),
  int32: z.int32(),
  intersection: z.intersection(z.object({ a: z.string() }), z.object({ b: z.number() })),
  templateLiteral: z.templateLiteral(["a", z.number()]),
  strictObject: z.strictObject({ a: z.string().optional() }),
  "email of some length": z.email().min(8).max(40),
  "two patterns": z.string().regex(/^a/).regex(/b$/),
  xor: z.xor([z.string(), z.number()]),
  union: z.union([z.string(), z.object({ a: z.int() })]),
  literals: z.literal([1, "a", null]),
  negative: z.number().negative(),
  hundredths: z.number().min(0).max(100).multipleOf(0.01),
  hostname: z.hostname(),
  mac: z.mac(),
  "hash sha256": z.hash("sha256"),
  "email of HTML 5": z.email({ pattern: z.regexes.html5Email }),
  "email of Unicode": z.email({ pattern: z.regexes.unicodeEmail }),
  "email of RFC 5322": z.email({ pattern: z.regexes.rfc5322Email }),
  catchall: z.object({ a: z.string() }).catchall(z.number()),
  "tuple with a rest": z.tuple([z.string()], z.number()),
  "and of literals": z.string().and(z.literal("a")),
  recursive: tree,
}

/** The object that a text has to be, with a field of this type. */
export const modelOf = (type: z.ZodType): z.ZodType => z.object({ f: type })
