// Light or dark: as the system says, or as the reader has chosen with the button
// id="theme", which is remembered. It is loaded before the page is painted.
(() => {
  const root = document.documentElement;
  const system = matchMedia('(prefers-color-scheme: dark)');
  const storage = (use) => { try { return use(localStorage); } catch { return null; } }; // may be forbidden
  const chosen = storage((s) => s.getItem('roost-theme'));
  if (chosen === 'light' || chosen === 'dark') root.dataset.theme = chosen;

  addEventListener('DOMContentLoaded', () => {
    const button = document.getElementById('theme');
    const show = () => {
      const dark = (root.dataset.theme ?? (system.matches ? 'dark' : 'light')) === 'dark';
      button.textContent = dark ? 'light' : 'dark';
      button.setAttribute('aria-label', dark ? 'light colours' : 'dark colours');
      return dark;
    };
    show();
    system.addEventListener('change', show);
    button.addEventListener('click', () => {
      const next = show() ? 'light' : 'dark';
      // The system's own choice is followed again when it is chosen.
      if ((next === 'dark') === system.matches) {
        delete root.dataset.theme;
        storage((s) => s.removeItem('roost-theme'));
      } else {
        root.dataset.theme = next;
        storage((s) => s.setItem('roost-theme', next));
      }
      show();
    });
  });
})();
