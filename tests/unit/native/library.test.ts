import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { openGguf } from "../../../src/gguf/reader.ts"
import { buildModel } from "../../../src/models/registry.ts"
import { NativeError, type NativeStatus } from "../../../src/native/errors.ts"
import { libraryPath, loadNative, NativeLibrary } from "../../../src/native/library.ts"
import { openSymbols } from "../../../src/native/symbols.ts"
import { PlanBuilder } from "../../../src/plan/builder.ts"
import { writeTinyModel } from "../../support/tiny-model.ts"

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rocmforge-native-"))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

function statusOf(action: () => unknown): NativeStatus | undefined {
  try {
    action()
  } catch (error) {
    if (error instanceof NativeError) return error.status
    throw error
  }
  return undefined
}

describe("finding the library", () => {
  test("the folder of ROCMFORGE_LIBRARY_PATH comes first, with no fallback", async () => {
    const env = { ROCMFORGE_LIBRARY_PATH: folder }
    expect(() => libraryPath("nvidia", env)).toThrow("bun run build")
    const path = join(folder, "librocmforge-nvidia.so")
    await Bun.write(path, "not a library")
    expect(libraryPath("nvidia", env)).toBe(path)
    expect(statusOf(() => new NativeLibrary("nvidia", path))).toBe("LIBRARY")
  })

  test("it is opened once", () => {
    expect(loadNative("cpu")).toBe(loadNative("cpu"))
  })
})

describe("the CPU library", () => {
  const native = loadNative("cpu")
  const files = { device: 0, paths: [], tensors: { data: new Uint8Array(0), count: 0 }, constants: new Uint8Array(0) }
  const limits = { nThreads: 1, maxTokens: 4, maxSeqs: 1, maxOutputs: 1, nBlocks: 1, blockSize: 16 }

  /** out = in · 2 over four rows of three. */
  const doubling = () => {
    const p = new PlanBuilder()
    const input = p.buffer("in", 4, 3, { pinned: true })
    const output = p.buffer("out", 4, 3, { pinned: true })
    p.scale(input, output, 2)
    return p.finish().pack({ maxTokens: 4, maxOutputs: 1 })
  }

  test("describes its device", () => {
    expect(native.deviceCount()).toBe(1)
    const info = native.deviceInfo(0)
    expect(info.name.length).toBeGreaterThan(0)
    expect(info.memoryTotal).toBeGreaterThan(2 ** 28)
    expect(info.computeUnits).toBeGreaterThan(0)
    expect(statusOf(() => native.deviceInfo(7))).toBe("INVALID_ARGUMENT")
  })

  test("decodes weights", () => {
    const bytes = new Uint8Array(Float16Array.of(0.5, -2, 65504, 0).buffer)
    expect([...native.dequantize(1, bytes, 4)]).toEqual([0.5, -2, 65504, 0])
    expect(statusOf(() => native.dequantize(77, bytes, 4))).toBe("UNSUPPORTED")
    expect(statusOf(() => native.dequantize(1, bytes, 5))).toBe("INVALID_ARGUMENT")
  })

  test("buffers are written and read, within their bounds", () => {
    using model = native.openModel(files)
    using context = model.openContext(limits, doubling())
    const values = Float32Array.of(1, 2, 3)
    context.writeBuffer(0, 12, values)
    const back = new Float32Array(3)
    context.readBuffer(0, 12, back)
    expect([...back]).toEqual([1, 2, 3])
    expect(statusOf(() => context.readBuffer(0, 40, back))).toBe("INVALID_ARGUMENT")
    expect(statusOf(() => context.writeBuffer(9, 0, values))).toBe("INVALID_ARGUMENT")
    expect(context.info().arenaBytes).toBeGreaterThanOrEqual(128)
  })

  test("objects can be closed twice, and are refused after closing", () => {
    const model = native.openModel(files)
    const context = model.openContext(limits, doubling())
    model.close()
    model.close()
    context.close()
    expect(statusOf(() => context.info())).toBe("INVALID_HANDLE")
    expect(statusOf(() => model.openContext(limits, doubling()))).toBe("INVALID_HANDLE")
  })

  test("an invalid plan is refused by the library too", () => {
    const plan = doubling()
    plan.ops[0] = 99
    using model = native.openModel(files)
    expect(statusOf(() => model.openContext(limits, plan))).toBe("INVALID_PLAN")
    expect(statusOf(() => model.openContext({ ...limits, maxTokens: 8 }, plan))).toBe("INVALID_ARGUMENT")
  })

  test("a malformed step is refused", () => {
    using model = native.openModel(files)
    using context = model.openContext(limits, doubling())
    const results = new Uint32Array(44)
    expect(statusOf(() => context.step(new Uint32Array(16), 16, results))).toBe("INVALID_STEP")
    expect(() => context.step(new Uint32Array(16), 17, results)).toThrow("17 words")
    expect(() => context.step(new Uint32Array(16), 16, new Uint8Array(0))).toThrow("empty")
  })

  test("a tensor beyond the end of its file is refused", async () => {
    const path = join(folder, "tiny.gguf")
    await writeTinyModel(path)
    const { tensors, constants } = buildModel(await openGguf(path))
    native.openModel({ device: 0, paths: [path], tensors, constants }).close()
    await Bun.write(path, (await Bun.file(path).bytes()).subarray(0, -4096))
    expect(statusOf(() => native.openModel({ device: 0, paths: [path], tensors, constants }))).toBe("INVALID_MODEL")
    const missing = join(folder, "missing.gguf")
    expect(statusOf(() => native.openModel({ device: 0, paths: [missing], tensors, constants }))).toBe("IO")
  })

  test("wrong arguments are refused before they reach it", () => {
    const symbols = openSymbols(native.path) as unknown as Record<string, (...args: unknown[]) => void>
    const out = new Uint32Array(1)
    expect(() => symbols.rf_device_count?.()).toThrow("takes 1 arguments, not 0")
    expect(() => symbols.rf_device_count?.(undefined)).toThrow("argument 0")
    expect(() => symbols.rf_device_info?.(-1, out)).toThrow("argument 0")
    expect(() => symbols.rf_device_info?.(0.5, out)).toThrow("argument 0")
    expect(() => symbols.rf_model_close?.(-1n)).toThrow("argument 0")
    expect(() => symbols.rf_model_close?.(2 ** 60)).toThrow("argument 0")
    expect(statusOf(() => symbols.rf_model_close?.(12345n))).toBe("INVALID_HANDLE")
  })
})
