/// The tables of a partition. docs/FORMATS.md explains them to whoever reads them with sqlite3.
enum Schema {
  static let version = 3

  static let sql = """
    CREATE TABLE IF NOT EXISTS meta (
      key TEXT PRIMARY KEY, value
    ) WITHOUT ROWID;

    CREATE TABLE IF NOT EXISTS shops (
      shop_id INTEGER PRIMARY KEY, name TEXT NOT NULL, city TEXT NOT NULL, province TEXT NOT NULL,
      market TEXT NOT NULL, category TEXT NOT NULL, origin TEXT NOT NULL, status TEXT NOT NULL,
      owner_hash BLOB NOT NULL, registered_at INTEGER NOT NULL
    );

    CREATE TABLE IF NOT EXISTS skus (
      shop_id INTEGER NOT NULL, sku_id INTEGER NOT NULL, name TEXT NOT NULL, price INTEGER NOT NULL,
      on_hand INTEGER NOT NULL, reserved INTEGER NOT NULL, consumed INTEGER NOT NULL,
      written_off INTEGER NOT NULL, given INTEGER NOT NULL,
      PRIMARY KEY (shop_id, sku_id)
    ) WITHOUT ROWID;

    CREATE TABLE IF NOT EXISTS orders (
      sn INTEGER PRIMARY KEY, order_id BLOB NOT NULL, shop_id INTEGER NOT NULL, buyer_id INTEGER NOT NULL,
      channel TEXT NOT NULL, reference TEXT NOT NULL, state TEXT NOT NULL, lines TEXT NOT NULL,
      goods INTEGER NOT NULL, shipping_fee INTEGER NOT NULL, total INTEGER NOT NULL,
      received INTEGER NOT NULL, held INTEGER NOT NULL, refunded INTEGER NOT NULL,
      released INTEGER NOT NULL, fee INTEGER NOT NULL, placed_at INTEGER NOT NULL,
      expires_at INTEGER NOT NULL, paid_at INTEGER NOT NULL, shipped_at INTEGER NOT NULL,
      delivered_at INTEGER NOT NULL, ended_at INTEGER NOT NULL, cancelled_by TEXT NOT NULL,
      cancel_reason TEXT NOT NULL
    );

    CREATE TABLE IF NOT EXISTS reservations (
      expires_at INTEGER NOT NULL, sn INTEGER NOT NULL, sns TEXT NOT NULL, PRIMARY KEY (expires_at, sn)
    ) WITHOUT ROWID;

    CREATE VIEW IF NOT EXISTS order_lines AS
      SELECT o.sn AS sn, o.order_id AS order_id, o.shop_id AS shop_id, o.state AS state,
        line.key AS line, json_extract(line.value, '$[0]') AS sku_id,
        json_extract(line.value, '$[1]') AS quantity, json_extract(line.value, '$[2]') AS unit_price
      FROM orders o, json_each(o.lines) line;

    CREATE TABLE IF NOT EXISTS payments (
      provider TEXT NOT NULL, reference TEXT NOT NULL, order_id BLOB NOT NULL, amount INTEGER NOT NULL,
      method TEXT NOT NULL, instalments INTEGER NOT NULL, settlement TEXT NOT NULL, held INTEGER NOT NULL,
      refunded INTEGER NOT NULL, outstanding INTEGER NOT NULL, state_after TEXT NOT NULL,
      rejected_reason TEXT NOT NULL, settled_at INTEGER NOT NULL,
      PRIMARY KEY (provider, reference)
    ) WITHOUT ROWID;

    CREATE TABLE IF NOT EXISTS accounts (
      kind TEXT NOT NULL, owner INTEGER NOT NULL, balance INTEGER NOT NULL,
      PRIMARY KEY (kind, owner)
    ) WITHOUT ROWID;

    CREATE TABLE IF NOT EXISTS transfers (
      sn INTEGER NOT NULL, number INTEGER NOT NULL, debit TEXT NOT NULL, debit_owner INTEGER NOT NULL,
      credit TEXT NOT NULL, credit_owner INTEGER NOT NULL, amount INTEGER NOT NULL, why TEXT NOT NULL,
      order_id BLOB NOT NULL, at INTEGER NOT NULL,
      PRIMARY KEY (sn, number)
    ) WITHOUT ROWID;

    CREATE TABLE IF NOT EXISTS request_pages (
      page INTEGER PRIMARY KEY, first BLOB NOT NULL, last BLOB NOT NULL, ids BLOB NOT NULL, sns TEXT NOT NULL,
      fingerprints BLOB NOT NULL, codes TEXT NOT NULL, bounds TEXT NOT NULL, answers BLOB NOT NULL
    );
    CREATE UNIQUE INDEX IF NOT EXISTS request_pages_first ON request_pages (first);

    CREATE VIEW IF NOT EXISTS requests AS
      SELECT substr(p.ids, 16 * n.key + 1, 16) AS request_id, n.value AS sn,
        hex(substr(p.fingerprints, 8 * n.key + 1, 8)) AS fingerprint,
        json_extract(p.codes, '$[' || n.key || ']') AS code,
        substr(p.answers, 1 + json_extract(p.bounds, '$[' || n.key || ']'),
          json_extract(p.bounds, '$[' || (n.key + 1) || ']') - json_extract(p.bounds, '$[' || n.key || ']'))
          AS answer,
        p.page AS page
      FROM request_pages p, json_each(p.sns) n;
    """
}
