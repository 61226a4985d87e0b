import { TokenizerError } from "./errors.ts"
import { type TokenizerSource, TokenType } from "./types.ts"

/** Looks up a GGUF metadata value; `undefined` if the file lacks the key. */
export type MetadataLookup = (key: string) => unknown

const PREFIX = "tokenizer.ggml."

function describe(value: unknown): string {
  if (Array.isArray(value)) return "an array"
  if (ArrayBuffer.isView(value)) return "a numeric array"
  return typeof value === "object" ? "an object" : `a ${typeof value}`
}

function bad(key: string, expected: string, value: unknown): TokenizerError {
  return new TokenizerError(
    "bad_field",
    `GGUF field ${key} must be ${expected}, but is ${describe(value)}; convert the model again`,
  )
}

function optionalString(get: MetadataLookup, key: string): string | undefined {
  const value = get(key)
  if (value === undefined) return undefined
  if (typeof value !== "string") throw bad(key, "a string", value)
  return value
}

function optionalBool(get: MetadataLookup, key: string): boolean | undefined {
  const value = get(key)
  if (value === undefined) return undefined
  if (typeof value !== "boolean") throw bad(key, "a boolean", value)
  return value
}

function optionalStrings(get: MetadataLookup, key: string): readonly string[] | undefined {
  const value = get(key)
  if (value === undefined) return undefined
  if (!Array.isArray(value)) throw bad(key, "an array of strings", value)
  const wrong = value.find((item) => typeof item !== "string")
  if (wrong !== undefined) throw bad(key, "an array of strings", wrong)
  return value as string[]
}

function isNumericArray(value: unknown): value is ArrayLike<number> {
  if (ArrayBuffer.isView(value))
    return !(value instanceof DataView || value instanceof BigInt64Array || value instanceof BigUint64Array)
  return Array.isArray(value) && value.every((item) => typeof item === "number")
}

function optionalNumbers(get: MetadataLookup, key: string, length: number): ArrayLike<number> | undefined {
  const value = get(key)
  if (value === undefined) return undefined
  if (!isNumericArray(value)) throw bad(key, "an array of numbers", value)
  if (value.length < length) {
    throw new TokenizerError(
      "bad_field",
      `GGUF field ${key} has ${value.length} values for ${length} tokens; the file is damaged, so download or convert it again`,
    )
  }
  return value
}

/** The id of a special token. An id outside the vocabulary counts as absent: converters write such ids for tokens that they dropped. */
function optionalId(get: MetadataLookup, name: string, vocabSize: number): number | undefined {
  const key = `${PREFIX}${name}_token_id`
  const value = get(key)
  if (value === undefined) return undefined
  const id = typeof value === "bigint" ? Number(value) : value
  if (typeof id !== "number" || !Number.isInteger(id)) throw bad(key, "an integer", value)
  return id >= 0 && id < vocabSize ? id : undefined
}

/**
 * Reads the tokenizer fields of a GGUF file.
 * @throws TokenizerError `missing_field`, `bad_field` or `unknown_model`, naming the field.
 */
export function readTokenizerSource(get: MetadataLookup): TokenizerSource {
  const model = optionalString(get, `${PREFIX}model`)
  if (model === undefined) throw missing("model")
  if (model !== "gpt2" && model !== "llama") {
    throw new TokenizerError(
      "unknown_model",
      `tokenizer model "${model}" is not supported; supported: gpt2 (byte-level BPE), llama (SentencePiece)`,
    )
  }
  const tokens = optionalStrings(get, `${PREFIX}tokens`)
  if (tokens === undefined || tokens.length === 0) throw missing("tokens")
  const n = tokens.length

  const types = optionalNumbers(get, `${PREFIX}token_type`, n)
  const tokenTypes = new Uint8Array(n).fill(TokenType.normal)
  for (let i = 0; types && i < n; i++) tokenTypes[i] = types[i] ?? TokenType.normal

  const scores = optionalNumbers(get, `${PREFIX}scores`, n)
  const merges = optionalStrings(get, `${PREFIX}merges`)
  if (model === "llama" && !scores) throw missing("scores")
  if (model === "gpt2" && !merges) throw missing("merges")

  const id = (name: string) => optionalId(get, name, n)
  const ids = (...names: string[]) => names.map(id).filter((value) => value !== undefined)
  return {
    model,
    pre: optionalString(get, `${PREFIX}pre`) || "default",
    tokens,
    tokenTypes,
    scores,
    merges,
    bosId: id("bos"),
    eosId: id("eos"),
    eotId: id("eot"),
    eomId: id("eom"),
    // The first converters misspelt the two words.
    unkId: id("unknown"),
    padId: id("padding"),
    // Early files have no fim_ in the key.
    fimPrefixId: id("fim_pre") ?? id("prefix"),
    fimSuffixId: id("fim_suf") ?? id("suffix"),
    fimMiddleId: id("fim_mid") ?? id("middle"),
    fimStopIds: ids("fim_pad", "fim_rep", "fim_sep"),
    addBos: optionalBool(get, `${PREFIX}add_bos_token`),
    addEos: optionalBool(get, `${PREFIX}add_eos_token`),
    addSpacePrefix: optionalBool(get, `${PREFIX}add_space_prefix`),
    modelName: optionalString(get, "general.name") ?? "",
  }
}

function missing(name: string): TokenizerError {
  return new TokenizerError(
    "missing_field",
    `the GGUF file has no ${PREFIX}${name}; the tokenizer needs it (use a file that includes its vocabulary)`,
  )
}
