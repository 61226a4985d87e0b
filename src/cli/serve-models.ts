import { basename } from "node:path"
import type { Command } from "commander"
import { type LoadOptions, loadModel } from "../engine/load.ts"
import { superviseModel } from "../engine/process/index.ts"
import { openGguf } from "../gguf/reader.ts"
import { buildModel } from "../models/registry.ts"
import type { ModelFinder } from "../server/http/context.ts"
import type { ModelSpec } from "../server/pool/entry.ts"
import { ModelPool } from "../server/pool/pool.ts"
import { resolveModel } from "../store/resolve.ts"
import { UsageError } from "./exit.ts"
import { findModel } from "./model-argument.ts"
import { apiName, ENGINE_OPTIONS, loadOptions } from "./open-model.ts"
import { type OptionValues, readOptions } from "./options/commander.ts"
import { note } from "./output.ts"
import { probeDevice } from "./probe-device.ts"
import { showUpload } from "./progress.ts"

const SCHEDULER_OPTIONS = ["maxSeqs", "maxQueue", "batchSize", "chunkSize", "prefixCache", "speculative"] as const
const POOL_OPTIONS = [
  "keepAlive",
  "memoryBudget",
  "maxModels",
  "autoload",
  "inProcess",
  "watchdog",
  "servedModelName",
  "alias",
  "tag",
  "anyModel",
] as const
export const MODEL_OPTIONS = [...SCHEDULER_OPTIONS, ...POOL_OPTIONS, ...ENGINE_OPTIONS] as const

/** Share of the free memory at the start that several models may use together. */
const BUDGET_SHARE = 0.9
/** Seconds that one of several models stays in memory without a request. */
const KEEP_ALIVE_S = 300

/**
 * Makes a pool of the named models without loading them. Each model is found (or downloaded) and its header is read, so that a
 * model that cannot be served is reported at the start.
 * @throws UsageError, DeviceError, StoreError, GgufError, ModelError, BudgetError
 */
export async function createPool(
  command: Command,
  names: readonly string[],
): Promise<{ pool: ModelPool; findModel: ModelFinder }> {
  const values = readOptions(command, MODEL_OPTIONS)
  const { keepAlive, memoryBudget, maxModels, autoload, inProcess, watchdog, anyModel } = values
  if (inProcess && command.getOptionValueSource("watchdog") === "cli")
    throw new UsageError("--watchdog needs engines in their own processes; leave out --in-process")
  const { device, note: why, memory_free: memoryFree } = await probeDevice(values.device)
  if (why) note(why)
  const options: LoadOptions = { ...loadOptions(command, device), ...schedulerOptions(values) }
  const found: ModelSpec[] = []
  for (const name of names) found.push(await describeModel(name, await findModel(name), options))
  const models = named(found, values)
  refuseSameNames(models)
  const { allowPull } = readOptions(command, ["allowPull"])
  const several = models.length > 1 || allowPull
  const budget = memoryBudget ?? (several ? memoryFree * BUDGET_SHARE : undefined)
  const seconds = keepAlive ?? (several ? KEEP_ALIVE_S : Number.POSITIVE_INFINITY)
  const pool = new ModelPool({
    models,
    open: ({ name, path }, { memoryLimit, signal }) => {
      const limit = memoryLimit === undefined ? {} : { memoryLimit }
      const load: LoadOptions = { ...options, ...limit, name, onUpload: showUpload(basename(path)) }
      if (inProcess) return loadModel(path, load)
      const watched = { watchdogMs: watchdog * 1000, onReport: note }
      return superviseModel(path, { ...load, ...watched, signal })
    },
    keepAliveMs: seconds * 1000,
    anyModel,
    autoload,
    ...(maxModels !== undefined && { maxModels }),
    ...(budget !== undefined && { budget }),
  })
  const pulled: ModelFinder = async (name, more) => describeModel(name, await resolveModel(name, more), options)
  return { pool, findModel: pulled }
}

const schedulerOptions = (values: OptionValues<(typeof SCHEDULER_OPTIONS)[number]>): LoadOptions => ({
  maxSeqs: values.maxSeqs,
  maxQueue: values.maxQueue,
  prefixCache: values.prefixCache,
  speculative: values.speculative,
  ...(values.batchSize !== undefined && { batchSize: values.batchSize }),
  ...(values.chunkSize !== undefined && { chunkSize: values.chunkSize }),
})

/** Reads a model's header: its name, architecture, and the memory it needs with these options. */
async function describeModel(name: string, path: string, options: LoadOptions): Promise<ModelSpec> {
  const { arch, config, memory } = buildModel(await openGguf(path))
  const contextLength = options.ctxSize ?? config.contextLength
  const { weights, kv } = memory({ contextLength, kvType: options.kvType ?? "f16" })
  return { name: apiName(name, path), path, arch, weights, cache: kv * (options.maxSeqs ?? 1) }
}

/** The models with the names that the command line gives them. @throws UsageError */
function named(
  models: readonly ModelSpec[],
  { servedModelName, alias, tag }: OptionValues<(typeof POOL_OPTIONS)[number]>,
): ModelSpec[] {
  const [name, ...others] = servedModelName
  if (name !== undefined && models.length > 1)
    throw new UsageError("--served-model-name names one model; use --alias NAME=MODEL for each of several")
  if (tag.length > 0 && models.length > 1) throw new UsageError("--tag describes one model; serve one model with it")
  const renamed = models.map((model) => ({ ...model, name: name ?? model.name, aliases: [...others], tags: tag }))
  for (const [other, of] of alias) {
    const model = renamed.find((model) => model.name === of)
    if (model === undefined) {
      const names = renamed.map((model) => model.name).join(", ")
      throw new UsageError(`--alias ${other}=${of}: no model is called "${of}"; the models are ${names}`)
    }
    model.aliases.push(other)
  }
  return renamed
}

/** @throws UsageError when two models have the same name in the API. */
function refuseSameNames(models: readonly ModelSpec[]): void {
  const owners = new Map<string, ModelSpec>()
  for (const model of models) {
    for (const name of [model.name, ...(model.aliases ?? [])]) {
      const other = owners.get(name)
      if (other === model) throw new UsageError(`${model.path} would be called "${name}" twice; name it once`)
      if (other !== undefined)
        throw new UsageError(
          `${other.path} and ${model.path} would both be called "${name}"; rename one of the files, or its alias`,
        )
      owners.set(name, model)
    }
  }
}
