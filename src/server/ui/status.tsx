/** @jsxImportSource hono/jsx */
import { document, Page } from "./layout.tsx"

/** The status page's frame; `status.client.js` fills it from `/health`. */
export const statusPage = (): string =>
  document(
    <Page title="ROCmForge" styles={["/ui/status.css"]} scripts={["/ui/status.js"]}>
      <header>
        <h1>ROCmForge</h1>
        <p id="state" role="status">
          Connecting…
        </p>
      </header>
      <main>
        <noscript>
          This page needs JavaScript; <a href="/health">/health</a> has the same figures.
        </noscript>
        <section aria-labelledby="models-title">
          <h2 id="models-title">Models</h2>
          <div id="models" />
        </section>
        <section aria-labelledby="use-title">
          <h2 id="use-title">Use it</h2>
          <p>
            Point any OpenAI client at <code id="base-url">/v1</code>, or try it from a shell:
          </p>
          <pre id="example" tabindex={0} />
        </section>
        <nav aria-label="More">
          <a href="/swagger">API reference</a>
          <a href="/v1/models">Models</a>
          <a href="/health">Health</a>
        </nav>
      </main>
      <template id="model-template">
        <article>
          <h3 data-field="id">Model</h3>
          <p data-field="device" />
          <p data-field="state" />
          <dl>
            <div>
              <dt>Running</dt>
              <dd data-field="running" />
            </div>
            <div>
              <dt>Waiting</dt>
              <dd data-field="waiting" />
            </div>
            <div>
              <dt>Context</dt>
              <dd data-field="context" />
            </div>
            <div>
              <dt>Steps</dt>
              <dd data-field="steps" />
            </div>
          </dl>
          <label>
            <span data-field="blocks" />
            <meter min={0} max={1} value={0} data-field="meter" />
          </label>
        </article>
      </template>
    </Page>,
  )
