/** @jsxImportSource hono/jsx */
import { htmlResponse, Page } from "./layout.tsx"

/** The status page. `status.client.js` fills in the data of `/health`. @param corsOrigins Whose web pages may use the server. */
export const statusPage = (corsOrigins: readonly string[]): Response =>
  htmlResponse(
    <Page title="ROCmForge" styles={["/ui/status.css"]} scripts={["/ui/status.js"]}>
      <header>
        <h1>ROCmForge</h1>
        <p id="state" role="status">
          Connecting…
        </p>
      </header>
      <main>
        <noscript>
          This page needs JavaScript. <a href="/health">/health</a> shows the same data as JSON.
        </noscript>
        <section aria-labelledby="models-title">
          <h2 id="models-title">Models</h2>
          <div id="models" />
        </section>
        <section aria-labelledby="use-title">
          <h2 id="use-title">How to use it</h2>
          <p>
            Set the base URL of any OpenAI client to <code id="base-url">/v1</code>, or send a request from a shell:
          </p>
          <pre id="example" tabindex={0} />
          <p id="origins">
            Web pages of other origins that may use this server:{" "}
            {corsOrigins.length === 0 ? "none" : corsOrigins.map((origin) => <code>{origin} </code>)}. Start it with{" "}
            <code>--cors-origin https://chat.example</code> to allow one (<code>*</code> allows all).
          </p>
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
