"""A run is open until it has finished: the rule no longer looks, to the planner, like an index of live runs."""

import django.db.models.deletion
from django.db import migrations, models

_OPEN = ("running", "compensating", "paused", "needs_attention")


class Migration(migrations.Migration):
    dependencies = [
        ("sagas", "0005_indexes_of_waiting_events"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="run",
            name="sagas_one_open_run_per_saga_and_key",
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.UniqueConstraint(
                condition=models.Q(("finished_at", None)),
                fields=("saga", "key"),
                name="sagas_one_open_run_per_saga_and_key",
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("finished_at", None), ("status__in", _OPEN)),
                    models.Q(("finished_at__isnull", False), models.Q(("status__in", _OPEN), _negated=True)),
                    _connector="OR",
                ),
                name="sagas_a_run_is_open_until_it_has_finished",
            ),
        ),
        # The unique constraint on event and subscription serves the same questions.
        migrations.AlterField(
            model_name="delivery",
            name="event",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="deliveries",
                to="sagas.event",
            ),
        ),
    ]
