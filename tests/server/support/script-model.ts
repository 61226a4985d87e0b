/** Loaded models and servers over a scripted engine. */

import type { EngineLimits, LoadedModel } from "../../../src/engine/types.ts"
import { Gguf } from "../../../src/gguf/reader.ts"
import type { StartOptions } from "../../../src/server/index.ts"
import { ChatTemplate } from "../../../src/text/chat-template.ts"
import { BYTE_TO_CHAR } from "../../../src/text/tokenizer/byte-map.ts"
import { tokenizerFromMetadata } from "../../../src/text/tokenizer/tokenizer.ts"
import { serveModel, type TestServer } from "../../support/http.ts"
import { type Script, ScriptEngine } from "./script-engine.ts"

const CONTROL = ["<|im_start|>", "<|im_end|>"]

/** Metadata of a tokenizer with one token per byte, and two control tokens. */
const METADATA = new Map<string, unknown>([
  ["tokenizer.ggml.model", "gpt2"],
  ["tokenizer.ggml.pre", "gpt-2"],
  ["tokenizer.ggml.tokens", [...BYTE_TO_CHAR, ...CONTROL]],
  ["tokenizer.ggml.token_type", [...BYTE_TO_CHAR.map(() => 1), ...CONTROL.map(() => 3)]],
  ["tokenizer.ggml.merges", []],
  ["tokenizer.ggml.eos_token_id", 257],
])
const BOS = new Map<string, unknown>([
  ["tokenizer.ggml.bos_token_id", 256],
  ["tokenizer.ggml.add_bos_token", true],
])
/** A template that joins the messages, and raises an exception for a system message that is not the first. */
const TEMPLATE =
  "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('system comes first') }}{% endif %}{{ m.content }}{% endfor %}"

export const byteTokenizer = tokenizerFromMetadata((key) => METADATA.get(key))
/** The same, for a model that expects the first control token before every text. */
export const bosTokenizer = tokenizerFromMetadata((key) => BOS.get(key) ?? METADATA.get(key))

/** Script tokens of a text, followed by the end token. */
export const saying = (text: string): number[] => [...Buffer.from(text), 257]

/** A loaded model over a scripted engine. */
export const scriptModel = (
  engine: ScriptEngine,
  name = "script",
  parts: Partial<Pick<LoadedModel, "tokenizer" | "chatTemplate">> = {},
): LoadedModel =>
  ({
    name,
    path: `${name}.gguf`,
    gguf: new Gguf(3, new Map(), new Map(), [{ path: `${name}.gguf`, size: 0 }], 32),
    config: { arch: "script" },
    tokenizer: byteTokenizer,
    chatTemplate: new ChatTemplate(TEMPLATE),
    engine,
    device: { backend: "cpu", name: "script" },
    memory: { weights: 0, cache: 0 },
    close: () => engine.close(),
    ...parts,
  }) as unknown as LoadedModel

export const scriptEngine = (script: Script, limits: Partial<EngineLimits> = {}): ScriptEngine =>
  new ScriptEngine(script, { nVocab: byteTokenizer.vocabSize, ...limits })

export interface ScriptedServer extends TestServer {
  readonly engine: ScriptEngine
}

/** A server over a scripted engine, under the model name `script`. */
export async function serveScript(
  script: Script,
  options: Partial<StartOptions> = {},
  limits: Partial<EngineLimits> = {},
  parts: Parameters<typeof scriptModel>[2] = {},
): Promise<ScriptedServer> {
  const engine = scriptEngine(script, limits)
  return { ...(await serveModel(scriptModel(engine, "script", parts), options)), engine }
}
