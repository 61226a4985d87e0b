import { describe, expect, test } from "bun:test"
import { type CheckedLibrary, selfCheck } from "../../../src/engine/self-check.ts"
import { loadNative } from "../../../src/native/library.ts"

const cpu = loadNative("cpu")

/** The CPU backend, with a function applied to every buffer that is read back. */
function spoiled(spoil: (values: Float32Array) => void): CheckedLibrary {
  return {
    deviceInfo: (device) => cpu.deviceInfo(device),
    openModel: (files) => {
      const model = cpu.openModel(files)
      return {
        openContext: (options, plan) => {
          const context = model.openContext({ ...options, compute: "f32" }, plan)
          return {
            step: context.step.bind(context),
            readBuffer: (buffer, offset, out) => {
              context.readBuffer(buffer, offset, out)
              spoil(out as Float32Array)
            },
          }
        },
        close: () => model.close(),
      }
    },
  }
}

describe("the self-check", () => {
  test("passes for a device with the CPU's results", () => {
    expect(() => selfCheck(cpu, 0, "f32")).not.toThrow()
    expect(() =>
      selfCheck(
        spoiled(() => {}),
        0,
        "f16",
      ),
    ).not.toThrow()
  })

  test.each([
    ["one wrong element", (values: Float32Array) => values.fill((values[7] ?? 0) + 0.5, 7, 8)],
    ["a NaN", (values: Float32Array) => values.fill(Number.NaN, 100, 101)],
    ["zeros", (values: Float32Array) => values.fill(0)],
    ["rows in another order", (values: Float32Array) => values.reverse()],
  ])("refuses %s, naming the device", (_, spoil) => {
    const { name } = cpu.deviceInfo(0)
    for (const compute of ["f32", "f16"] as const) {
      expect(() => selfCheck(spoiled(spoil), 0, compute)).toThrow(`${name} (`)
      expect(() => selfCheck(spoiled(spoil), 0, compute)).toThrow("computes wrongly")
    }
  })

  test("is strict in f32, and allows the rounding errors of f16", () => {
    const round = (values: Float32Array) => values.set(values.map((value) => value * (1 + 2e-3)))
    expect(() => selfCheck(spoiled(round), 0, "f32")).toThrow("computes wrongly")
    expect(() => selfCheck(spoiled(round), 0, "f16")).not.toThrow()
  })
})
