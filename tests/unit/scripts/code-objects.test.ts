import { afterAll, expect, test } from "bun:test"
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { codeObjectsAssembly } from "../../../scripts/build/code-objects.ts"
import { runCommand } from "../../../scripts/build/command.ts"
import { findCompiler } from "../../../scripts/build/compilers.ts"

const root = mkdtempSync(join(tmpdir(), "rocmforge code "))
afterAll(() => rmSync(root, { recursive: true }))

const search = await findCompiler()
if ("missing" in search) throw new Error(search.missing)
const { command } = search.compiler

/** Prints the table after unpacking each object as the GPU backends do. The argument truncates the streams by that many bytes. */
const PRINTER = `
#include <cstdio>
#include <cstdlib>
#include <string>
#include "hip/gpu/inflate.h"
struct CodeObject { const char *unit, *arch; const uint8_t* data; uint64_t n_bytes, size; };
extern "C" const CodeObject rf_code_objects[];
extern "C" const uint32_t rf_code_object_count;
int main(int argc, char** argv) {
  const uint64_t cut = argc > 1 ? uint64_t(atoi(argv[1])) : 0;
  for (uint32_t i = 0; i < rf_code_object_count; i++) {
    const CodeObject& o = rf_code_objects[i];
    std::string code(o.size, 0);
    const bool good = rf::gpu::inflate(o.data, o.n_bytes - cut, reinterpret_cast<uint8_t*>(&code[0]), o.size);
    uint32_t sum = 0;
    for (unsigned char c : code) sum = sum * 31 + c;
    printf("%s %s %llu %s\\n", o.unit, o.arch, (unsigned long long)o.size, good ? std::to_string(sum).c_str() : "damaged");
  }
}
`

const checksum = (bytes: Uint8Array) => bytes.reduce((sum, byte) => (Math.imul(sum, 31) + byte) >>> 0, 0)

/** Contents for each path of the decompressor: near and far repeats, noise (stored blocks), almost no bytes. */
const CONTENTS: Record<string, Uint8Array> = {
  repeats: Uint8Array.from({ length: 200_000 }, (_, i) => (i % 977 < 900 ? i % 13 : (i * i) >> 7)),
  noise: crypto.getRandomValues(new Uint8Array(60_000)),
  far: Uint8Array.from({ length: 70_000 }, (_, i) => (Math.imul(i % 32_000, 2654435761) >>> 13) & 255),
  short: new Uint8Array([1, 2, 3]),
}

async function build(names: readonly string[]): Promise<string> {
  const files = names.map((name) => ({ unit: name, arch: "gfx1100", path: join(root, name) }))
  writeFileSync(join(root, "table.s"), codeObjectsAssembly(files))
  writeFileSync(join(root, "main.cpp"), PRINTER)
  const program = join(root, "program")
  const sources = ["hip/gpu/inflate.cpp", join(root, "main.cpp"), join(root, "table.s")]
  const result = await runCommand([...command, "-std=c++17", "-O1", "-I.", "-o", program, ...sources])
  if (result.code !== 0) throw new Error(result.stderr)
  return program
}

test("every code object is unpacked unchanged, and a damaged one is an error", async () => {
  for (const [name, bytes] of Object.entries(CONTENTS)) writeFileSync(join(root, name), bytes)
  const names = Object.keys(CONTENTS)
  const program = await build(names)
  const lines = (sums: (name: string) => string | number) =>
    names.map((name) => `${name} gfx1100 ${CONTENTS[name]?.length} ${sums(name)}\n`).join("")
  expect((await runCommand([program])).stdout).toBe(lines((name) => checksum(CONTENTS[name] ?? new Uint8Array())))
  expect((await runCommand([program, "3"])).stdout).toBe(lines(() => "damaged"))
})

test("the assembly changes only with the code", () => {
  const path = join(root, "code")
  const text = () => codeObjectsAssembly([{ unit: "code", arch: "sm_90", path }])
  writeFileSync(path, "one")
  const first = text()
  expect(text()).toBe(first)
  writeFileSync(path, "two")
  const later = new Date(Date.now() + 5000)
  utimesSync(path, later, later)
  expect(text()).not.toBe(first)
})
