#include <sqlite3.h>

// sqlite3_config(3) is variadic. SQLITE_OK, or why it has no effect: SQLite is in use already.
static inline int laris_sqlite_without_statistics(void) { return sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); }
