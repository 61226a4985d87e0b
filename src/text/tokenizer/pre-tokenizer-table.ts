/**
 * The patterns by which each family of byte-level BPE models cuts text before merging, under the names that GGUF converters write. They
 * are the patterns of the models' tokenizer.json files; `default`, which belongs to no model, follows llama.cpp. Patterns are JavaScript
 * `v`-mode sources, except that `\s` means Unicode White_Space. Several patterns apply in order, each within the pieces of the one before.
 */
export interface PreTokenizerRule {
  names: readonly string[]
  patterns: readonly string[]
  /** A piece that is itself a token is not merged (`ignore_merges` in tokenizer.json). */
  wholePieces?: boolean
  /** Models of this family expect BOS unless the file states otherwise. */
  addBos?: boolean
}

const r = String.raw

/** English contractions in any case. */
const SUFFIX = r`'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]`

const GPT2 = r`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

/** A pattern of the cl100k form. Models differ in how many digits form a piece and in which characters are letters. */
function cl100k(digits: string, letter = r`\p{L}`, word = r`\p{L}\p{N}`): string {
  return r`${SUFFIX}|[^\r\n\p{L}\p{N}]?${letter}+|${digits}| ?[^\s${word}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
}

const DIGITS_1 = r`\p{N}`
const DIGITS_3 = r`\p{N}{1,3}`

/** A pattern of the o200k form: words are cut where lower case changes to upper case. `suffix` may follow a word. */
function o200k(digits: string, suffix: string): string {
  const upper = r`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
  const lower = r`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
  const lead = r`[^\r\n\p{L}\p{N}]?`
  return r`${lead}${upper}*${lower}+${suffix}|${lead}${upper}+${lower}*${suffix}|${digits}| ?[^\s\p{L}\p{N}]+[\r\n\/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
}

/** The letters of DeepSeek LLM: hexadecimal ranges of cased letters. */
const DEEPSEEK_LETTERS = `
  41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376-377 37B-37D 37F 386 388-38A 38C 38E-3A1 3A3-3F5 3F7-481
  48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A 1E00-1F15 1F18-1F1D 1F20-1F45
  1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4 1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC
  1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128 212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183-2184
  2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2-2CF3 A640-A66D A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17
  FF21-FF3A FF41-FF5A 10400-1044F 104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943`

/** Han, everything from U+0800 up to Han, and Hangul. */
const DEEPSEEK_CJK = "4E00-9FA5 800-4E00 AC00-D7FF"

const DEEPSEEK_PUNCTUATION = "21-2F 3A-7E FF01-FF0F FF1A-FF5E 2018-201F 3000-3002"

function ranges(list: string): string {
  const codePoint = (hex: string) => r`\u{${hex}}`
  const one = (range: string) => range.split("-").map(codePoint).join("-")
  return `[${list.trim().split(/\s+/).map(one).join("")}]`
}

/** The model's pattern is `\s+$`. The look-behind changes no match, and avoids quadratic time on long runs of spaces. */
const TRAILING_SPACE = r`(?<!\s)\s+$`

const BLOOM = r` ?[^\(\s\|.,!?…。，、।۔،\)]+`

const KIMI_UPPER = r`[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]--\p{Script=Han}]`
const KIMI_LOWER = r`[[\p{Ll}\p{Lm}\p{Lo}\p{M}]--\p{Script=Han}]`
const KIMI_LEAD = r`[^\r\n\p{L}\p{N}]?`

const RULES: readonly PreTokenizerRule[] = [
  {
    names: ["default"],
    patterns: [r`[\p{P}\$\+<=>\^~\|]+`, GPT2, r`\p{N}+`, "[0-9][0-9][0-9]"],
  },
  {
    names: [
      "gpt-2",
      "phi-2",
      "gigachat",
      "a.x-4.0",
      "mellum",
      "modern-bert",
      "exaone4",
      "jina-es",
      "jina-de",
      "jina-v1-en",
      "jina-v2-es",
      "jina-v2-de",
      "jina-v2-code",
      "roberta-bpe",
      "mpt",
      "olmo",
      "jais",
      "trillion",
      "granite-docling",
    ],
    patterns: [GPT2],
  },
  {
    names: ["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
    patterns: [cl100k(DIGITS_3)],
    wholePieces: true,
    addBos: true,
  },
  { names: ["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"], patterns: [cl100k(DIGITS_3)] },
  {
    names: ["qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "kormo", "f2llmv2", "hunyuan", "solar-open", "grok-2"],
    patterns: [cl100k(DIGITS_1)],
  },
  { names: ["qwen35"], patterns: [cl100k(DIGITS_1, r`[\p{L}\p{M}]`, r`\p{L}\p{M}\p{N}`)] },
  { names: ["minicpm5"], patterns: [DIGITS_3, cl100k(r`\p{N}+`)], wholePieces: true },
  {
    names: ["seed-coder"],
    patterns: [r`${SUFFIX}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+`],
  },
  {
    names: ["bailingmoe", "bailingmoe2", "llada-moe"],
    patterns: [
      r`'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`,
    ],
  },
  {
    names: ["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
    patterns: [DIGITS_1, GPT2],
  },
  { names: ["falcon"], patterns: [r`[\p{P}\$\+<=>\^~\|\x60]+`, GPT2, "[0-9][0-9][0-9]"] },
  {
    names: ["deepseek-llm"],
    patterns: [
      r`[\r\n]`,
      r`\s?${ranges(DEEPSEEK_LETTERS)}+`,
      r`\s?${ranges(DEEPSEEK_PUNCTUATION)}+`,
      TRAILING_SPACE,
      `${ranges(DEEPSEEK_CJK)}+`,
      r`\p{N}+`,
    ],
  },
  {
    names: ["deepseek-coder"],
    patterns: [r`[\r\n]`, r`\s?\p{L}+`, r`\s?\p{P}+`, `${ranges(DEEPSEEK_CJK)}+`, r`\p{N}`],
  },
  {
    names: ["deepseek-v3", "hunyuan-dense", "joyai-llm"],
    patterns: [
      DIGITS_3,
      r`[\u{4E00}-\u{9FA5}\u{3040}-\u{309F}\u{30A0}-\u{30FF}]+`,
      r`[\x21-\x2F\x3A-\x40\x5B-\x60\x7B-\x7E][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    ],
  },
  { names: ["tekken"], patterns: [o200k(DIGITS_1, "")], wholePieces: true, addBos: true },
  { names: ["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], patterns: [o200k(DIGITS_3, `(?:${SUFFIX})?`)] },
  {
    names: ["kimi-k2"],
    patterns: [
      r`\p{Script=Han}+|${KIMI_LEAD}${KIMI_UPPER}*${KIMI_LOWER}+(?:${SUFFIX})?|${KIMI_LEAD}${KIMI_UPPER}+${KIMI_LOWER}*(?:${SUFFIX})?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
    ],
  },
  { names: ["bloom", "gpt3-finnish", "poro-chat"], patterns: [BLOOM] },
  { names: ["viking"], patterns: [BLOOM, r`\p{N}`] },
]

/** Rules by each of their names. */
export const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizerRule> = new Map(
  RULES.flatMap((rule) => rule.names.map((name) => [name, rule] as const)),
)

/** All known names, sorted. */
export const KNOWN_PRE_TOKENIZERS: readonly string[] = [...PRE_TOKENIZERS.keys()].sort()
