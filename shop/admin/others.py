"""Tables of other apps, in the style of this site."""

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django_celery_results.models import GroupResult, TaskResult
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from backoffice.inspect import InspectAdmin, ModelAdmin, labelled

for _model in (TaskResult, GroupResult, User, Group):
    admin.site.unregister(_model)


@admin.register(TaskResult)
class TaskResultAdmin(InspectAdmin):
    """Results of Celery tasks that a person requested, and every failure."""

    list_display = ("task_name", "state", "date_done", "worker", "task_id")
    list_filter = ("status",)
    search_fields = ("task_id",)
    search_help_text = "A whole task id."
    ordering = ("-pk",)

    @labelled("status", {"SUCCESS": "success", "FAILURE": "danger", "STARTED": "info", "RETRY": "warning"})
    def state(self, result: TaskResult) -> str:
        return str(result.status)


@admin.register(User)
class ShopUserAdmin(UserAdmin, ModelAdmin):  # type: ignore[type-arg]
    """Users and their permissions."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class ShopGroupAdmin(GroupAdmin, ModelAdmin):
    """Permissions by role."""
