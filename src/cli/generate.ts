import { generateText, type TextRequest } from "../engine/text.ts"
import { breakerTokens } from "../engine/token-rules.ts"
import { GREEDY, type LoadedModel, type SamplingParams } from "../engine/types.ts"
import { EngineError } from "../errors.ts"
import { type ChatTemplate, chatTemplateFromMetadata, encodePrompt } from "../text/index.ts"
import type { CommandSpec } from "./command.ts"
import { EXIT, UsageError } from "./exit.ts"
import { type GenerationOutput, JsonOutput, TextOutput } from "./generate-output.ts"
import { readFile, readText } from "./input.ts"
import { onInterrupt } from "./interrupt.ts"
import { refuseRest, takeModel } from "./model-argument.ts"
import { ENGINE_OPTIONS, loadFor } from "./open-model.ts"
import { type OptionValues, readOptions } from "./options/commander.ts"

const PROMPT_OPTIONS = ["prompt", "file", "chat", "system", "chatTemplate"] as const
const SAMPLING_OPTIONS = [
  "temperature",
  "topK",
  "topP",
  "minP",
  "repeatPenalty",
  "frequencyPenalty",
  "presencePenalty",
  "repeatLastN",
  "typicalP",
  "topNSigma",
  "xtcProbability",
  "xtcThreshold",
  "dryMultiplier",
  "dryBase",
  "dryAllowedLength",
  "dryPenaltyLastN",
  "drySequenceBreakers",
  "mirostat",
  "mirostatTau",
  "mirostatEta",
  "dynatempRange",
  "dynatempExponent",
  "minKeep",
  "temperatureLast",
  "logitBias",
  "seed",
  "logprobs",
] as const
const END_OPTIONS = ["maxTokens", "stop", "ignoreEos", "json"] as const

export const generate: CommandSpec = {
  name: "generate",
  usage: "MODEL [--prompt TEXT]",
  summary: "Continue a prompt, or answer it with --chat; the text is streamed to standard output",
  description:
    "MODEL is a GGUF file, a known name (smollm2-135m) or hf:owner/repo/file.gguf; --model and --gguf name it too. " +
    "Without --prompt and --file (or with -) the prompt is read from standard input; one newline at its end is removed. " +
    "Speeds are printed to standard error.",
  examples: [
    'rocmforge generate smollm2-135m --chat --prompt "Why is the sky blue?"',
    'rocmforge generate model.gguf --prompt "Once upon a time" --max-tokens 64 --temperature 0',
    "git diff | rocmforge generate model.gguf --chat --system 'Write a commit message.' --stop ---",
    "rocmforge generate model.gguf --file prompt.txt --seed 7 --json --logprobs 3",
  ],
  options: ["model", "gguf", ...PROMPT_OPTIONS, ...END_OPTIONS, ...SAMPLING_OPTIONS, "speculative", ...ENGINE_OPTIONS],
  run: async (command, positional) => {
    const { model: name, rest } = takeModel(command, positional)
    refuseRest(rest)
    const values = readOptions(command, [...PROMPT_OPTIONS, ...SAMPLING_OPTIONS, ...END_OPTIONS])
    if (values.system !== undefined && !values.chat) throw new UsageError("--system needs --chat")
    if (values.chatTemplate !== undefined && !values.chat) throw new UsageError("--chat-template needs --chat")
    if (values.logprobs !== undefined && !values.json) throw new UsageError("--logprobs needs --json")
    const prompt = await readText("prompt", values.prompt, values.file)
    await using model = await loadFor(command, name, { maxSeqs: 1, ...readOptions(command, ["speculative"]) })
    const request: TextRequest = {
      id: "cli",
      promptTokens: promptTokens(model, prompt, values),
      sampling: samplingParams(model, values),
      maxTokens: values.maxTokens,
      stop: values.stop,
      ignoreEos: values.ignoreEos,
    }
    const output = values.json ? new JsonOutput(model, request) : new TextOutput()
    return await run(model, request, output) // awaited, so that the model stays open until the text is complete
  },
}

type Values = OptionValues<
  (typeof PROMPT_OPTIONS)[number] | (typeof SAMPLING_OPTIONS)[number] | (typeof END_OPTIONS)[number]
>

/** Token ids of the prompt. Without `--chat`, control tokens written in it are parsed, since there is no other way to give them. */
function promptTokens(model: LoadedModel, prompt: string, values: Values): Int32Array {
  const { tokenizer } = model
  if (!values.chat) return tokenizer.encode(prompt, { special: true, addBos: tokenizer.addBos })
  const system = values.system === undefined ? [] : [{ role: "system", content: values.system }]
  const messages = [...system, { role: "user", content: prompt }]
  return encodePrompt(tokenizer, chatTemplateOf(model, values.chatTemplate).render({ messages }))
}

/** The model's own chat template, or one from a file. */
function chatTemplateOf({ gguf, tokenizer, chatTemplate }: LoadedModel, file: string | undefined): ChatTemplate {
  if (file === undefined && chatTemplate) return chatTemplate
  const override = file === undefined ? undefined : readFile("chat template", file)
  return chatTemplateFromMetadata((key) => gguf.metadata.get(key)?.value, tokenizer, override)
}

const samplingParams = ({ tokenizer }: LoadedModel, values: Values): SamplingParams => ({
  ...GREEDY,
  temperature: values.temperature,
  topK: values.topK,
  topP: values.topP,
  minP: values.minP,
  repetitionPenalty: values.repeatPenalty,
  frequencyPenalty: values.frequencyPenalty,
  presencePenalty: values.presencePenalty,
  repeatLastN: values.repeatLastN,
  typicalP: values.typicalP,
  topNSigma: values.topNSigma,
  xtcProbability: values.xtcProbability,
  xtcThreshold: values.xtcThreshold,
  dryMultiplier: values.dryMultiplier,
  dryBase: values.dryBase,
  dryAllowedLength: values.dryAllowedLength,
  dryPenaltyLastN: values.dryPenaltyLastN,
  mirostat: values.mirostat,
  mirostatTau: values.mirostatTau,
  mirostatEta: values.mirostatEta,
  dynatempRange: values.dynatempRange,
  dynatempExponent: values.dynatempExponent,
  minKeep: values.minKeep,
  temperatureLast: values.temperatureLast,
  drySequenceBreakers:
    values.dryMultiplier === 0
      ? []
      : breakerTokens(tokenizer, values.drySequenceBreakers.length > 0 ? values.drySequenceBreakers : undefined),
  logitBias: new Map(values.logitBias),
  seed: values.seed ?? randomSeed(),
  logprobs: values.logprobs,
})

const randomSeed = (): bigint => crypto.getRandomValues(new BigUint64Array(1))[0] ?? 0n

/** Passes events to the output until the request ends. Ctrl-C cancels the request, and the output still receives its end. */
async function run(model: LoadedModel, request: TextRequest, output: GenerationOutput): Promise<number> {
  const controller = new AbortController()
  using _ = onInterrupt(() => controller.abort())
  for await (const event of generateText(model, request, controller.signal)) {
    if (event.type === "text") {
      await output.text(event)
      continue
    }
    await output.end(event)
    return event.reason === "cancelled" ? EXIT.interrupted : EXIT.ok
  }
  throw new EngineError("the engine ended the request without an end event")
}
