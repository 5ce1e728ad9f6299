// Debian's Firefox, which Playwright does not drive, without a window.
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const settings = {
  'browser.shell.checkDefaultBrowser': false, 'browser.aboutwelcome.enabled': false, 'browser.startup.homepage_override.mstone': 'ignore',
  'datareporting.policy.dataSubmissionEnabled': false, 'toolkit.telemetry.enabled': false, 'app.update.enabled': false,
  'network.captive-portal-service.enabled': false, 'network.connectivity-service.enabled': false, 'browser.safebrowsing.update.enabled': false,
  'extensions.update.enabled': false, 'fission.autostart': false, 'dom.ipc.processCount': 2, 'dom.ipc.processPrelaunch.enabled': false, 'termsofuse.bypassNotification': true,
};

/**
 * Starts ROOST_FIREFOX with pages. Its process leads a group; ended rejects if it ends by
 * itself; stop() ends it and removes its profile.
 */
export async function launch(...pages) {
  const profile = await mkdtemp(join(tmpdir(), 'roost-firefox-'));
  await writeFile(join(profile, 'user.js'), Object.entries(settings).map(([k, v]) => `user_pref(${JSON.stringify(k)}, ${JSON.stringify(v)});\n`).join(''));
  const firefox = spawn(process.env.ROOST_FIREFOX, ['--headless', '--no-remote', '--profile', profile, ...pages],
    { stdio: ['ignore', 'pipe', 'pipe'], detached: true, env: { ...process.env, HOME: profile, MOZ_HEADLESS: '1' } });
  let said = '';
  for (const stream of [firefox.stdout, firefox.stderr]) stream.on('data', (text) => { said += text; });
  const gone = new Promise((done) => { firefox.on('error', done).on('exit', done); });
  const ended = gone.then((why) => { throw new Error(`Firefox ended with ${why}: ${said.slice(-2000)}`); });
  ended.catch(() => {}); // awaited by the caller, or stopped
  const kill = () => {
    try { process.kill(-firefox.pid, 'SIGKILL'); } catch { /* it has ended, or not begun */ }
  };
  const interrupted = () => { kill(); process.exit(1); };
  for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, interrupted);
  return {
    pid: firefox.pid,
    ended,
    async stop() {
      for (const signal of ['SIGTERM', 'SIGINT']) process.off(signal, interrupted);
      kill();
      await gone;
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}
