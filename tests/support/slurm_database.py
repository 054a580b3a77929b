"""The database under a cluster's accounting: texts and arguments for MariaDB and slurmdbd."""

from __future__ import annotations

from tests.support.slurm_config import Layout

DATABASE = "slurm_acct_db"
PASSWORD = "slurm"


def slurmdbd_conf(layout: Layout) -> str:
    """Return slurmdbd.conf, which SLURM wants readable by its owner alone."""
    return (
        f"AuthType=auth/munge\nAuthInfo=socket={layout.munge}\n"
        f"DbdHost=localhost\nDbdAddr=127.0.0.1\nDbdPort={layout.slurmdbd_port}\nSlurmUser={layout.user}\n"
        f"LogFile={layout.logs / 'slurmdbd.log'}\nPidFile={layout.root / 'slurmdbd.pid'}\n"
        f"StorageType=accounting_storage/mysql\nStorageHost=127.0.0.1\nStoragePort={layout.database_port}\n"
        f"StorageUser=slurm\nStoragePass={PASSWORD}\nStorageLoc={DATABASE}\n"
    )


def database_sql() -> str:
    """Return what makes slurmdbd's database and user, harmless when repeated, one statement a line."""
    return (
        f"CREATE DATABASE IF NOT EXISTS {DATABASE};\n"
        f"CREATE USER IF NOT EXISTS slurm@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
        f"GRANT ALL ON {DATABASE}.* TO slurm@'127.0.0.1';\n"
    )


def mariadb_install_options(layout: Layout) -> list[str]:
    """Return mariadb-install-db's arguments for an empty database that its owner may enter without a password."""
    # By force also where this host's name means nothing.
    options = ["--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve", "--force"]
    return [*_common(layout), *options]


def mariadbd_options(layout: Layout) -> list[str]:
    """Return mariadbd's arguments: small, on 127.0.0.1 alone, safe from its own death, not the machine's."""
    return [
        *_common(layout),
        f"--socket={layout.root / 'mariadb.sock'}",
        f"--pid-file={layout.root / 'mariadb.pid'}",
        f"--init-file={layout.root / 'mariadb-init.sql'}",
        "--bind-address=127.0.0.1",
        f"--port={layout.database_port}",
        "--skip-log-bin",
        "--skip-name-resolve",
        "--innodb-buffer-pool-size=64M",
        "--innodb-flush-log-at-trx-commit=2",
        # slurmdbd asks for at least this much.
        "--innodb-lock-wait-timeout=900",
    ]


def _common(layout: Layout) -> list[str]:
    return ["--no-defaults", f"--user={layout.user}", f"--datadir={layout.mariadb}", "--innodb-log-file-size=8M"]
