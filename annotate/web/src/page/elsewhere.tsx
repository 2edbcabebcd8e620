/** What a tab shows after another one took its work over. */

export function Elsewhere() {
  return (
    <main class="welcome">
      <h2>This work is open in another tab</h2>
      <p>Everything that you did here is kept, and is in the other tab.</p>
      <button type="button" class="primary" onClick={() => location.reload()}>
        Continue here
      </button>
    </main>
  );
}
